import { stringify } from 'yaml';
import { loadConfig, maskConfig } from '../config';

/** Prints the effective configuration as YAML, with passwords masked. */
export function printConfig(path: string | undefined): void {
  process.stdout.write(stringify(maskConfig(loadConfig(path))));
}

/** Succeeds silently for a good configuration; throws ConfigError otherwise. */
export function checkConfig(path: string | undefined): void {
  loadConfig(path);
  process.stdout.write('the configuration is good\n');
}
