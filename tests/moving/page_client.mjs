// A page's client as the application that moves has it: a fetch with the token in a header and the cursor in the query, which
// hands each event to one function whatever its `event:` line says, gives up after three 401s, and reconnects otherwise.
//
// Arguments: the server's URL, the token, how many events to wait for, and after how many its connection is cut. It prints the
// id of each event; then, as JSON, how often it connected and which statuses it got.

const [server, token, wanted, cutAfter] = [process.argv[2], process.argv[3], Number(process.argv[4]), Number(process.argv[5])];
const statuses = {};
let [cursor, seen, connections, unauthorized] = [null, 0, 0, 0];

function fieldsOf(block) {
  const fields = { data: [] };
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const [name, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
    if (name === 'data') fields.data.push(value);
    else fields[name] = value;
  }
  return fields;
}

async function follow() {
  const url = new URL('/api/events', server);
  if (cursor) url.searchParams.set('last_event_id', cursor);
  const aborter = new AbortController();
  const headers = { Accept: 'text/event-stream', Authorization: `Bearer ${token}` };
  const response = await fetch(url, { headers, signal: aborter.signal, cache: 'no-store' });
  statuses[response.status] = (statuses[response.status] ?? 0) + 1;
  unauthorized = response.status === 401 ? unauthorized + 1 : 0;
  if (unauthorized === 3) throw new Error('three 401s: this page would ask for a new user now');
  if (!response.ok) return;
  connections += 1;
  let [buffer, here] = ['', 0];
  const decoder = new TextDecoder();
  for await (const bytes of response.body) {
    buffer += decoder.decode(bytes, { stream: true });
    for (let end = buffer.indexOf('\n\n'); end >= 0; end = buffer.indexOf('\n\n')) {
      const { id, data } = fieldsOf(buffer.slice(0, end));
      buffer = buffer.slice(end + 2);
      if (id !== undefined) cursor = id;
      if (data.length === 0) continue;
      const event = JSON.parse(data.join('\n'));
      if (event.type === 'backlog.truncated') throw new Error('events are missing');
      if (event.type.startsWith('stream.')) continue;
      console.log(event.id);
      seen += 1;
      here += 1;
      if (seen >= wanted || here >= cutAfter) return aborter.abort();
    }
  }
}

while (seen < wanted) {
  try {
    await follow();
  } catch (error) {
    if (error.name !== 'AbortError' && error.cause === undefined) throw error;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}
console.log(JSON.stringify({ connections, statuses }));
