// Attaches Hume's own control-plane client to a chat of a bot, supervises it, and prints what happened as JSON.
// Arguments: the folder with node_modules, the base URL of the hub, its key, the chat id. What the caller is to say next
// is asked for by a line on stdout, such as `caller: hello`.

const [folder, baseUrl, apiKey, chatId] = process.argv.slice(2);
const { HumeClient } = require(require.resolve("hume", { paths: [folder] }));

const seen = { events: [], errors: [], waiting: [] };
const settle = () => {
  seen.waiting = seen.waiting.filter(({ wanted, resolve }) => {
    const found = seen.events.find(wanted);
    if (found) resolve(found);
    return !found;
  });
};
const until = (wanted) => new Promise((resolve) => { seen.waiting.push({ wanted, resolve }); settle(); });
const says = (text) => console.log(`caller: ${text}`);
const words = (event) => event.message?.content ?? "";

async function main() {
  const environment = { base: baseUrl, evi: baseUrl.replace("http", "ws") + "/v0/evi" };
  const plane = new HumeClient({ apiKey, environment }).empathicVoice.controlPlane;
  const socket = await plane.connect({ chat_id: chatId, reconnectAttempts: 0 });
  socket.on("message", (event) => { seen.events.push(event); settle(); });
  socket.on("error", (error) => seen.errors.push(String(error.message ?? error)));
  const closed = new Promise((resolve) => socket.on("close", (event) => resolve(event.code)));
  await socket.waitForOpen();
  const past = await until((event) => event.type === "assistant_message");

  says("I want a refund");
  const call = await until((event) => event.type === "tool_call");
  socket.sendPublish({ type: "tool_response", toolCallId: call.toolCallId, content: "granted" });
  const used = await until((event) => words(event).includes("granted"));

  socket.sendPublish({ type: "assistant_input", text: "One moment, a colleague is joining us." });
  const spoken = await until((event) => event.type === "assistant_message" && event.fromText);

  await plane.send(chatId, { type: "pause_assistant_message" });
  says("are you there");
  await until((event) => event.type === "user_message" && !event.interim && words(event) === "are you there");
  await plane.send(chatId, { type: "resume_assistant_message" });
  const resumed = await until((event) => words(event).includes("You said: are you there"));

  says("");
  const close = await closed;
  console.log(JSON.stringify({
    types: seen.events.map((event) => event.type),
    unparsed: seen.errors,
    past: words(past),
    responseRequired: call.responseRequired,
    used: words(used),
    spoken: words(spoken),
    resumed: words(resumed),
    close,
  }));
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
