/** The page at `/`: what the server holds, how far the sinks are, and a box for SQL. One file, no third party. */
export const CONSOLE_HTML = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Thermocline</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b2733; }
  h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
  textarea { width: 100%; height: 6rem; font: 14px ui-monospace, monospace; box-sizing: border-box; padding: .5rem }
  table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
  th, td { border: 1px solid #cfd8e0; padding: .25rem .5rem; text-align: left; vertical-align: top; max-width: 30rem; overflow-wrap: anywhere }
  th { background: #eef3f7 } .bad { color: #b00020 } button, select { font: inherit; padding: .25rem .75rem }
</style>
<h1>Thermocline</h1>
<p id="state">...</p>
<h2>SQL</h2>
<p><select id="target" aria-label="store"><option value="hot">hot: PostgreSQL</option><option value="cold">cold: ClickHouse</option></select>
<button id="run">Run</button> <span id="note"></span></p>
<textarea id="query" aria-label="query" spellcheck="false">SELECT time, app, metric, value FROM metrics_events ORDER BY time DESC LIMIT 20</textarea>
<table id="rows"></table>
<h2>Tables</h2>
<table id="tables"></table>
<p><a href="/metrics">metrics</a> <a href="/readyz">readiness</a></p>
<script>
  const el = (id) => document.getElementById(id);
  const fill = (table, head, rows) => {
    table.replaceChildren();
    for (const [tag, cells] of [['th', head], ...rows.map((r) => ['td', r])]) {
      const line = table.insertRow();
      for (const cell of cells) {
        const field = document.createElement(tag);
        field.textContent = cell === null ? 'NULL' : typeof cell === 'object' ? JSON.stringify(cell) : String(cell);
        line.append(field);
      }
    }
  };
  const refresh = async () => {
    const ready = await (await fetch('/readyz')).json();
    const sinks = Object.entries(ready.sinks).map(([tier, s]) => tier + ': ' + (s.up ? 'up' : 'DOWN ' + (s.lastError || '')) + ', ' + s.rows + ' rows waiting' + (s.breaker === 'closed' ? '' : ', breaker ' + s.breaker) + s.held.map((h) => ', table ' + h.table + ' is held: ' + h.reason).join(''));
    el('state').textContent = ready.status + '. ' + sinks.join('; ');
    const { tables } = await (await fetch('/api/tables')).json();
    fill(el('tables'), ['table', 'home', 'version', 'columns'], tables.map((t) => [t.table, t.tier, t.version, t.columns.map((c) => c.name + ' ' + c.type).join(', ')]));
  };
  el('run').onclick = async () => {
    const answer = await fetch('/api/sql', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ target: el('target').value, query: el('query').value }) });
    const body = await answer.json();
    el('note').textContent = body.error ? body.error.message : body.rows.length + ' rows, ' + body.elapsed_ms + ' ms';
    el('note').className = body.error ? 'bad' : '';
    fill(el('rows'), body.error ? [] : body.columns.map((c) => c.name), body.error ? [] : body.rows);
  };
  refresh(); setInterval(refresh, 5000);
</script>
</html>
`;
