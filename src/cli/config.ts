import { stringify } from 'yaml';
import { loadConfig, maskConfig } from '../config';
import { checkSample } from './config-sample';

/** Prints the effective configuration as YAML, with passwords masked. */
export function printConfig(path: string | undefined): void {
  process.stdout.write(stringify(maskConfig(loadConfig(path))));
}

/**
 * Says that a configuration is good, and with a sample where its rows would go. Throws ConfigError for a bad configuration, Error for
 * rows that would not go where the sample expects them.
 */
export async function checkConfig(path: string | undefined, sample: string | undefined): Promise<void> {
  const { routing } = loadConfig(path);
  process.stdout.write('the configuration is good\n');
  if (sample === undefined) return;
  const { lines, failures } = await checkSample(sample, routing);
  for (const line of lines) process.stdout.write(`${line}\n`);
  if (failures > 0) throw new Error(`${failures} document${failures === 1 ? '' : 's'} of the sample would not go as expected`);
}
