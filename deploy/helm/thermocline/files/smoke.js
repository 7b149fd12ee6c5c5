// Writes one log record over OTLP/HTTP and waits until SQL finds it. Runs on Node alone; exits 1 with the reason.
const { HTTP_URL, ADMIN_URL, TIER = 'cold' } = process.env;
const marker = `smoke-${Date.now()}-${Math.random().toString(36).slice(2)}`;

async function post(url, body) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}

async function main() {
  const ready = await fetch(`${ADMIN_URL}/readyz`, { signal: AbortSignal.timeout(10_000) });
  if (!ready.ok) throw new Error(`${ADMIN_URL}/readyz answered ${ready.status}`);
  const answer = await post(`${HTTP_URL}/v1/logs`, {
    resourceLogs: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'thermocline-smoke' } }] },
        scopeLogs: [{ logRecords: [{ timeUnixNano: `${Date.now()}000000`, body: { stringValue: marker } }] }],
      },
    ],
  });
  if (answer.partialSuccess?.rejectedLogRecords > 0) throw new Error(`rejected: ${answer.partialSuccess.errorMessage}`);
  if (TIER === 'none') return console.log(`accepted ${marker}; nothing is delivered with "sinks: none"`);

  const deadline = Date.now() + 60_000;
  for (;;) {
    const { rows } = await post(`${ADMIN_URL}/api/sql`, {
      target: TIER,
      query: `SELECT count(*) FROM logs_events WHERE app = 'thermocline-smoke' AND message = '${marker}'`,
    });
    if (Number(rows[0][0]) === 1) return console.log(`found ${marker} by SQL`);
    if (Date.now() > deadline) throw new Error(`${marker} was accepted but not found by SQL within 60 s`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

main().catch((error) => {
  console.error(error instanceof Error ? (error.cause ?? error) : error);
  process.exit(1);
});
