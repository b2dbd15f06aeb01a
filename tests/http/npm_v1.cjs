// The SDK that most installed clients are built on: calls a tool, waits for a line on stdin, and calls it again.
const path = require("path");
const { createRequire } = require("module");
const [folder, url, token] = process.argv.slice(2);
const load = createRequire(path.join(folder, "package.json"));
const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");

(async () => {
  const headers = { Authorization: `Bearer ${token}` };
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  const client = new Client({ name: "npm-v1", version: "1" });
  await client.connect(transport);
  const call = async () => {
    const answer = await client.callTool({ name: "list_chats", arguments: {} });
    console.log(JSON.stringify({ isError: !!answer.isError, session: transport.sessionId }));
  };
  await call();
  await new Promise((resolve) => process.stdin.once("data", resolve));
  await call();
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
