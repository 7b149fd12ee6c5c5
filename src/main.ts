#!/usr/bin/env node
/**
 * argv -> command. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 78 the WAL holds damaged acknowledged data.
 */
import { Command, CommanderError, Option } from 'commander';
import { BENCH_SINKS, runBench } from './cli/bench';
import { runLoad } from './cli/bench-load';
import { checkConfig, printConfig } from './cli/config';
import { addDeadLettersCommand } from './cli/dead-letters';
import { addDemoteCommand } from './cli/demote';
import { diffSchemas, listSchemas, registerSchema } from './cli/schema';
import { runServe } from './cli/serve';
import { addWalCommand } from './cli/wal';
import { ConfigError } from './config';

const EXIT = { failed: 1, usage: 2, corrupt: 78 } as const;

function program(): Command {
  const root = new Command('thermocline')
    .description('Multi-protocol telemetry ingest into PostgreSQL and ClickHouse')
    .exitOverride();
  const config = () => new Option('--config <file>', 'YAML configuration (or THERMOCLINE_CONFIG)');

  root
    .command('serve')
    .description('run the server until SIGTERM')
    .addOption(config())
    .action((options: { config?: string }) => runServe(options.config));

  const configCommand = root.command('config').description('look at the configuration');
  configCommand
    .command('print')
    .description('print the effective configuration, secrets masked')
    .addOption(config())
    .action((options: { config?: string }) => printConfig(options.config));
  configCommand
    .command('check')
    .description('check the configuration and say what is wrong')
    .addOption(config())
    .option('--sample <file>', 'JSON documents: print where their rows would go, fail where `expect` says otherwise')
    .action((options: { config?: string; sample?: string }) => checkConfig(options.config, options.sample));

  addDeadLettersCommand(root);
  addDemoteCommand(root);

  addSchemaCommands(root, config);

  addWalCommand(root, config);

  root
    .command('bench')
    .description('measure ingest: starts a server and a separate load process')
    .requiredOption('--scenario <name>', 'otlp-{http,grpc}-{logs,metrics,traces}-<rows per request>')
    .addOption(new Option('--sink <sink>', 'where the rows go').choices(BENCH_SINKS).default('null'))
    .option('--seconds <n>', 'length of the measurement', Number, 10)
    .option('--connections <n>', 'requests in flight', Number, 16)
    .option('--json', 'print the result as one line of JSON, the last line')
    .action(runBench);
  root.command('bench-load', { hidden: true }).action(runLoad);
  return root;
}

function addSchemaCommands(root: Command, config: () => Option): void {
  const schema = root.command('schema').description('tables of a running server');
  const add = (name: string, description: string): Command =>
    schema
      .command(name)
      .description(description)
      .option('--url <url>', "the server's HTTP port, by default from the configuration")
      .option('--json', 'print the answer as JSON')
      .addOption(config());
  add('list [table]', 'tables, or the columns of one').action(listSchemas);
  add('register <file>', 'make a table or add columns to it, from a JSON file (- for standard input)')
    .option('--dry-run', 'only print what would be done')
    .action(registerSchema);
  add('diff [table]', 'compare the registry with the tables in the stores; exit code 1 when they differ').action(diffSchemas);
}

async function main(): Promise<number> {
  try {
    await program().parseAsync();
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    const { name, message } = error as Error;
    process.stderr.write(`thermocline: ${message}\n`);
    if (error instanceof ConfigError) return EXIT.usage;
    if (name !== 'WalCorruptError') return EXIT.failed;
    process.stderr.write('`thermocline wal inspect` shows the damage, `thermocline wal repair` what it would cost to go on\n');
    return EXIT.corrupt;
  }
}

void main().then((code) => process.exit(code));
