/**
 * The composition root: builds every part from the configuration, starts stores and sinks first and adapters last, stops in
 * reverse. The only place where the parts know each other.
 */
import { join } from 'node:path';
import { collectDefaultMetrics } from 'prom-client';
import { GrpcListener } from './adapters/grpc-listener';
import { HttpListener } from './adapters/http-listener';
import { AdminServer } from './admin/server';
import { type AdapterParts, ingestAdapters } from './app-adapters';
import { type WatchedPressure, watchPressure } from './app-back-pressure';
import {
  type CommonDeliveryOptions,
  DEAD_LETTERS_FOLDER,
  DEAD_LETTERS_SEGMENT_BYTES,
  DeadLetters,
  labelsOf,
  parkingOf,
} from './app-dead-letters';
import { type Demotions, startDemotions } from './app-demotion';
import { batchStatus, ledgerReport, openAccepted, type ParkedCounts, showLedger } from './app-ledger';
import { bothTiersSql } from './app-query';
import { startRetention } from './app-retention';
import { startRollups } from './app-rollups';
import { startSchemas } from './app-schemas';
import { NO_STORES, openStores, type Stores } from './app-stores';
import { checkFilesystem, type LogOptions, openLog } from './app-wal';
import type { Config } from './config';
import { lsn, type TableName } from './core/ids';
import type { Sink } from './core/sink';
import type { TableSchema, Tier } from './core/table-schema';
import { IdempotencyKeys } from './ingest/idempotency';
import { WalIngest } from './ingest/ingest';
import { FileRegistry } from './registry/registry';
import { cutWhenLate, StopList } from './stop-list';
import { type Logger, Telemetry } from './telemetry';
import { Delivery } from './tiering/delivery';
import { Router } from './tiering/routing';
import type { AcceptedRows } from './wal/accepted-rows';
import { FileDeliveryStateStore } from './wal/delivery-state';
import { FileStorage } from './wal/file-storage';
import type { FileWal } from './wal/file-wal';
import type { Storage } from './wal/storage';

/** Where the server listens, as `host:port`. */
export interface Addresses {
  readonly grpc: string;
  readonly http: string;
  readonly admin: string;
}

const NO_PARKED = { totals: {}, pending: new Map<string, number>() };
/** Longest wait for the stores before the server takes rows without them. */
const STORES_WAIT_MS = 10_000;
const KEY_SEGMENT_BYTES = 1024 * 1024;
/** A batch must not wait for a client that closes slowly: listeners get this part of the grace period. */
const LISTENERS_GRACE = 0.4;
const DELIVERIES_GRACE = 0.4;
/** What a write that is under way at the end of the grace period gets to end by itself. */
const WRITE_END_MS = 500;

export class App {
  private readonly telemetry = new Telemetry();
  private deliveries: Delivery[] = [];
  private keys: IdempotencyKeys | undefined;
  private deadLetters: DeadLetters | undefined;
  private accepted: AcceptedRows | undefined;
  private watched: WatchedPressure | undefined;
  private demotions: Demotions | undefined;
  /** Not before the deliveries are there: what they still need would be given back. */
  private mayRelease = false;
  private draining = false;
  /** What was started, to be stopped from the last to the first. */
  private readonly stops = new StopList();
  private fail: (error: Error) => void = () => undefined;
  /** Resolves with the reason when the server cannot go on and must end (fsync failed, damaged WAL). */
  readonly failed = new Promise<Error>((resolve) => {
    this.fail = resolve;
  });

  /** `progress` gets short texts for people while the server starts. `storage` is where all logs and checkpoints are. */
  constructor(
    private readonly config: Config,
    private readonly logger: Logger,
    private readonly progress: (text: string) => void,
    private readonly storage: Storage = new FileStorage(),
  ) {
    collectDefaultMetrics({ register: this.telemetry.registry });
  }

  /** Resolves when data is accepted. After a rejection `stop` must be called all the same. */
  async start(): Promise<Addresses> {
    const { config } = this;
    const registry = await FileRegistry.open(config.data_dir);
    this.progress('opening the write-ahead log');
    await checkFilesystem(this.logOptions);
    const wal = await this.openWal('wal', config.wal.segment_bytes);
    const keys = await this.openKeys(wal);
    const stores = config.sinks === 'none' ? NO_STORES : await this.openStores(registry);
    const router = new Router(config.routing, (table) => registry.get(table));
    const deadLetters = await this.openDeadLetters(wal, registry, router);
    const common = this.deliveryOptions(deadLetters, registry);
    const states = this.deliveryStates(wal);
    if (stores.sinks.length > 0) this.accepted = await this.openAccepted(wal, states, stores.sinks);
    const onAdvance = (): void => this.release(wal);
    this.deliveries = stores.sinks.map((sink) => new Delivery({ ...common, wal, sink, states, onAdvance }));
    this.mayRelease = true;
    this.stops.add('deliveries', () => this.stopDeliveries(deadLetters, stores));
    for (const delivery of this.deliveries) await delivery.start();
    await deadLetters.startReplays(stores.sinks, common);
    if (stores.letters !== undefined) deadLetters.startCopy(stores.letters);
    const watched = await watchPressure({ ...this.logOptions, wal });
    this.watched = watched;
    this.stops.add('back-pressure', async () => watched.stop());
    const ingest = new WalIngest({
      wal,
      route: router.route,
      progress: {
        delivered: (...asked) => this.delivered(...asked),
        deadLetters: (at, tiers) => deadLetters.store.lettersOf(wal.walId, at, tiers),
      },
      onDurable: (at, batches) => {
        this.accepted?.add(at, batches);
        deadLetters.mover.add(at, batches);
        for (const delivery of this.deliveries) delivery.backlog.add(batches);
        if (this.deliveries.length === 0) this.release(wal);
      },
      parking: deadLetters.mover,
      labels: labelsOf(config, this.telemetry),
      inFlightBytesMax: config.in_flight_bytes_max,
      backPressure: watched.pressure,
      idempotency: keys,
      telemetry: this.telemetry,
    });
    await this.waitForStores();
    const schemas = startSchemas({ ...stores, registry, router, logger: this.logger });
    this.stops.add('schemas', () => schemas.stop());
    this.startBackground(registry, router, stores);
    const admin = await this.listenAdmin(registry, wal, ingest, { ...stores, router });
    const { sql, erasers } = stores;
    const { grpc, http } = await this.listenIngest(ingest, { ingest, registry, wal, sql, erasers, schemas });
    return { grpc, http, admin };
  }

  /** A store that does not answer must not hold the process: what is under way there is cut, and repeated after the next start. */
  private stopDeliveries(deadLetters: DeadLetters, { sinks, letters }: Stores): Promise<void> {
    const graceMs = this.config.shutdown_grace_ms * DELIVERIES_GRACE;
    const stopped = Promise.all([deadLetters.stop(), ...this.deliveries.map((delivery) => delivery.stop(graceMs))]);
    return cutWhenLate(stopped, graceMs + WRITE_END_MS, () =>
      Promise.all([letters?.close(), ...sinks.map((sink) => sink.stop())]),
    );
  }

  private async openWal(name: string, segmentBytes: number): Promise<FileWal> {
    const wal = await openLog(name, segmentBytes, this.logOptions);
    this.stops.add(`log ${name}`, () => wal.close());
    return wal;
  }

  private get logOptions(): LogOptions {
    const { config, storage, telemetry, logger } = this;
    return { config, storage, telemetry, logger, onFatal: (error) => this.fail(error) };
  }

  /** Keys of requests, with a log of their own beside the log of requests. */
  private async openKeys(wal: FileWal): Promise<IdempotencyKeys> {
    const { window_ms: windowMs, keys_max: keysMax } = this.config.idempotency;
    const keys = await IdempotencyKeys.open({
      wal,
      keyWal: await this.openWal('idempotency', KEY_SEGMENT_BYTES),
      windowMs,
      keysMax,
      clock: Date.now,
      logger: this.logger,
      onRelease: () => this.release(wal),
    });
    this.keys = keys;
    this.stops.add('idempotency keys', () => keys.close());
    return keys;
  }

  private openStores(registry: FileRegistry): Promise<Stores> {
    const { config, logger, telemetry, stops, progress } = this;
    return openStores({ config, logger, telemetry, stops, progress, onSchema: (schema) => registry.adopt(schema) });
  }

  /** What goes on between the tiers by itself. */
  private startBackground(registry: FileRegistry, router: Router, { demotion: stores, coldUrls: urls }: Stores): void {
    if (stores === undefined) return;
    const { config, telemetry, logger } = this;
    const tables = (): readonly TableSchema[] => registry.list();
    const schemaOf = (table: TableName): TableSchema | undefined => registry.get(table);
    const isInBoth = (table: TableName): boolean => router.everInBoth(table);
    const demotions = startDemotions({ config: config.demotion, stores, tables, schemaOf, isInBoth, telemetry, logger });
    this.demotions = demotions;
    this.stops.add('demotions', () => demotions.stop());
    const retention = startRetention({ config, url: stores.hotUrl, isInBoth, tables, telemetry, logger });
    if (retention !== undefined) this.stops.add('retention', () => retention.stop());
    const { movedDays } = demotions;
    for (const url of urls) {
      const rollups = startRollups({ config, url, tables, movedDays, telemetry, logger });
      this.stops.add('roll-ups', () => rollups.stop());
    }
  }

  private async openDeadLetters(wal: FileWal, registry: FileRegistry, { route }: Router): Promise<DeadLetters> {
    const { config, telemetry, logger, storage } = this;
    this.deadLetters = await DeadLetters.open({
      config,
      log: await this.openWal(DEAD_LETTERS_FOLDER, DEAD_LETTERS_SEGMENT_BYTES),
      storage,
      wal,
      route,
      onRelease: () => this.release(wal),
      schemaOf: (table) => registry.get(table),
      deliveryOf: (walId, tier) => (walId === wal.walId ? this.deliveries.find((delivery) => delivery.tier === tier) : undefined),
      telemetry,
      logger,
      onFatal: (error) => this.fail(error),
    });
    return this.deadLetters;
  }

  /** What every delivery has, also that of replayed dead letters. */
  private deliveryOptions(deadLetters: DeadLetters, registry: FileRegistry): CommonDeliveryOptions {
    const { config, telemetry, logger } = this;
    return {
      deadLetters: deadLetters.store,
      schemaOf: (table) => registry.get(table),
      tables: () => registry.list(),
      rowsMax: config.delivery.rows_max,
      bytesMax: config.delivery.bytes_max,
      intervalMs: config.delivery.interval_ms,
      telemetry,
      logger,
    };
  }

  private deliveryStates(wal: FileWal): FileDeliveryStateStore {
    return new FileDeliveryStateStore({
      directory: join(this.config.data_dir, 'wal'),
      storage: this.storage,
      walId: wal.walId,
      onFatal: (error) => this.fail(error),
      onDamage: (text) => this.logger.error(text),
    });
  }

  /** Stopped after the deliveries, which is when everything is counted. */
  private async openAccepted(wal: FileWal, states: FileDeliveryStateStore, sinks: readonly Sink[]): Promise<AcceptedRows> {
    const accepted = await openAccepted(sinks, states, this.deadLetters?.checkpoint, {
      directory: join(this.config.data_dir, 'wal'),
      storage: this.storage,
      wal,
      logger: this.logger,
      onFatal: (error) => this.fail(error),
      onRelease: () => this.release(wal),
    });
    this.stops.add('accepted rows', () => accepted.close());
    return accepted;
  }

  /** Gives back the segments that neither a sink nor a key nor the count of accepted rows needs any more. */
  private release(wal: FileWal): void {
    if (!this.mayRelease) return;
    const delivered = this.deliveries.map((delivery) => delivery.releasableLsn);
    const parked = this.deadLetters?.mover.releasableLsn ?? Number.POSITIVE_INFINITY;
    const needed = Math.min(this.keys?.releasableLsn ?? 0, this.accepted?.releasableLsn ?? Number.POSITIVE_INFINITY, parked);
    const below = Math.min(wal.stats().durableLsn + 1, needed, ...delivered);
    wal.release(lsn(below)).catch((error: unknown) => this.logger.error({ err: error }, 'cannot release wal segments'));
  }

  private async delivered(tier: Tier, ...asked: Parameters<Delivery['delivered']>): Promise<void> {
    await Promise.all(
      this.deliveries.filter((delivery) => delivery.tier === tier).map((delivery) => delivery.delivered(...asked)),
    );
  }

  /** A while for the stores to be there with their tables; without them rows are taken all the same. */
  private async waitForStores(): Promise<void> {
    if (this.deliveries.length === 0) return;
    this.progress('creating tables and views');
    const ready = Promise.all(this.deliveries.map((delivery) => delivery.firstReady)).then(() => true);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), STORES_WAIT_MS);
    });
    if (!(await Promise.race([ready, late]))) this.progress('a store does not answer yet; rows are accepted and delivered later');
    clearTimeout(timer);
  }

  private async listenAdmin(
    registry: FileRegistry,
    wal: FileWal,
    ingest: WalIngest,
    { router, ...stores }: Stores & { readonly router: Router },
  ): Promise<string> {
    const { config, telemetry, logger } = this;
    const tables = (): readonly TableSchema[] => registry.list();
    const parked = (): ParkedCounts => this.deadLetters?.parked() ?? NO_PARKED;
    const showOnGauges = showLedger(telemetry, this.accepted, this.deliveries, parked);
    const admin = new AdminServer({
      host: config.host,
      port: config.admin_port,
      telemetry,
      logger,
      stores: stores.sql,
      bothTiers: bothTiersSql({ config: config.query, stores, tables, router, logger }),
      tables,
      deadLetters: this.deadLetters?.store,
      demotions: this.demotions,
      ledger: () => ledgerReport(this.accepted, this.deliveries, parked),
      batchLetters: async (batch) => this.deadLetters?.ofBatch(batch) ?? 0,
      batches: batchStatus(wal, () => this.deliveries),
      notReady: () => (this.draining ? 'shutting down' : ingest.notAccepting),
      sinks: () => Object.fromEntries(this.deliveries.map((delivery) => [delivery.tier, delivery.status()])),
      refresh: () => {
        this.refreshGauges(wal);
        showOnGauges();
      },
    });
    const address = await admin.start();
    this.stops.add('admin', () => admin.stop());
    return address;
  }

  private async listenIngest(
    ingest: WalIngest,
    parts: Pick<AdapterParts, 'ingest' | 'registry' | 'wal' | 'sql' | 'erasers' | 'schemas'>,
  ): Promise<{ grpc: string; http: string }> {
    const { config, telemetry, logger } = this;
    const graceMs = config.shutdown_grace_ms * LISTENERS_GRACE;
    const bodyBytesMax = config.request_bytes_max;
    const adapters = ingestAdapters({
      ...parts,
      batches: batchStatus(parts.wal, () => this.deliveries),
      delivered: (tier, at, signal) => this.delivered(tier, at, signal),
      telemetry,
      bodyBytesMax,
      parking: parkingOf(config),
    });
    const http = new HttpListener({ host: config.host, port: config.http_port, adapters: adapters.http, logger, bodyBytesMax });
    const grpc = new GrpcListener({
      host: config.host,
      port: config.grpc_port,
      services: adapters.grpc,
      logger,
      messageBytesMax: bodyBytesMax,
    });
    const addresses = { http: await http.start(), grpc: await grpc.start() };
    grpc.setServing(true);
    this.stops.add('listeners', async () => {
      await Promise.all([http.stop(graceMs), grpc.stop(graceMs)]);
      ingest.refuse('shutting down');
    });
    return addresses;
  }

  private refreshGauges(wal: FileWal): void {
    const { telemetry } = this;
    const { segments, sizeBytes } = wal.stats();
    telemetry.walSegments.set(segments);
    telemetry.walSizeBytes.set(sizeBytes);
    this.deadLetters?.refreshGauges();
    this.watched?.refreshGauges();
    for (const delivery of this.deliveries) {
      const { tier } = delivery;
      const { rows, bytes, ageSeconds, held } = delivery.status();
      const replays = this.deadLetters?.pending(tier);
      telemetry.walLagRows.set({ tier }, rows + (replays?.rows ?? 0));
      telemetry.walLagBytes.set({ tier }, bytes + (replays?.bytes ?? 0));
      telemetry.walLagSeconds.set({ tier }, ageSeconds);
      telemetry.heldTables.set({ tier }, held.length);
      telemetry.heldRows.set({ tier }, delivery.backlog.heldRows);
    }
  }

  /**
   * Stops accepting, finishes open requests, delivers what it can within the grace period, closes the rest. What is not delivered
   * stays in the WAL. Every part is tried, the first error is thrown.
   */
  async stop(): Promise<void> {
    this.draining = true;
    await this.stops.run(this.config.shutdown_grace_ms, this.logger);
  }
}
