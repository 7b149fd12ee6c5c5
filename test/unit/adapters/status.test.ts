import { grpcStatus } from '../../../src/adapters/grpc-status';
import { encodeStatus, encodeStatusJson, retryAfterSeconds, STATUS } from '../../../src/adapters/status';
import { ERROR_CODES, type ErrorCode, IngestError } from '../../../src/core/errors';
import { decodeRpcStatus } from '../../support/rpc-status';

const CODES = Object.keys(ERROR_CODES) as ErrorCode[];
const HTTP_RETRYABLE = [429, 502, 503, 504];
const GRPC_RETRYABLE = [1, 4, 10, 11, 14, 15];

describe('the table of codes', () => {
  it.each(CODES)('OH9, OH12, OG4: %s is retryable for clients of every protocol, or of none', (code) => {
    const { retryable } = ERROR_CODES[code];
    expect(HTTP_RETRYABLE.includes(STATUS[code].http)).toBe(retryable);
    expect(GRPC_RETRYABLE.includes(STATUS[code].grpc)).toBe(retryable);
  });

  it.each(CODES)('OG3, OG5: %s carries RetryInfo exactly when it may be retried and says when', (code) => {
    const error = new IngestError(code, 'text', { retryAfterMs: 61_001.2 });
    const expected = ERROR_CODES[code].retryable ? 61_002 : undefined;
    expect(decodeRpcStatus(encodeStatus(error))).toMatchObject({
      code: STATUS[code].grpc,
      message: 'text',
      retryAfterMs: expected,
    });
    expect(retryAfterSeconds(error)).toBe(expected === undefined ? undefined : '62');
    expect(retryAfterSeconds(new IngestError(code, 'text'))).toBeUndefined();
  });
});

describe('google.rpc.Status', () => {
  it.each([
    [0, '0.000s'],
    [1, '0.001s'],
    [999, '0.999s'],
    [1_000, '1.000s'],
    [3_600_000, '3600.000s'],
  ])('a wait of %d ms is the same in both encodings', (retryAfterMs, text) => {
    const error = new IngestError('unavailable', 'full', { retryAfterMs });
    expect(decodeRpcStatus(encodeStatus(error)).retryAfterMs).toBe(retryAfterMs);
    expect(JSON.parse(encodeStatusJson(error).toString())).toMatchObject({ details: [{ retryDelay: text }] });
  });

  it('OH9, OG6: bad data names the field and the reason', () => {
    const error = new IngestError('invalid_argument', 'not UTF-8', { at: 'byte 17' });
    expect(decodeRpcStatus(encodeStatus(error)).violations).toEqual([
      { field: 'byte 17', description: 'not UTF-8 (at byte 17)' },
    ]);
  });

  it('cuts a long text and replaces lone surrogates, so that it fits into a header', () => {
    const error = new IngestError('invalid_argument', `\ud800${'ü'.repeat(1_000_000)}`, { at: 'x'.repeat(1_000_000) });
    const { details, metadata } = grpcStatus(error);
    expect(details.length).toBeLessThanOrEqual(1024);
    expect(encodeURI(details)).toMatch(/^%EF%BF%BD/);
    expect((metadata.get('grpc-status-details-bin')[0] as Buffer).length).toBeLessThan(8_000);
    expect(encodeStatusJson(error).length).toBeLessThan(8_000);
  });

  it('keeps what is unforeseen to itself', () => {
    const error = IngestError.from(new TypeError('secret'));
    expect(decodeRpcStatus(encodeStatus(error))).toMatchObject({ code: 13, message: 'internal error' });
  });
});
