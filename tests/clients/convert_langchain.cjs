// node convert_langchain.cjs FOLDER: the tools on stdin, as @langchain/mcp-adapters gives them to a model, on stdout.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const from = createRequire(join(process.argv[2], "package.json"));
const { loadMcpTools } = from("@langchain/mcp-adapters");
const { convertToOpenAITool } = from("@langchain/core/utils/function_calling");

const tools = JSON.parse(readFileSync(0, "utf8"));
const client = { listTools: async () => ({ tools }) };

loadMcpTools("evi", client, { throwOnLoadError: true }).then((made) => {
  const shown = made.map((tool) => [tool.name, convertToOpenAITool(tool).function.parameters]);
  console.log(JSON.stringify(Object.fromEntries(shown)));
});
