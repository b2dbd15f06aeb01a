// Opens a chat with Hume's own client, supervises it with its control-plane client, and prints what happened as JSON.
// Arguments: the folder with node_modules, the base URL of the service, the API key.

const [folder, baseUrl, apiKey] = process.argv.slice(2);
const { HumeClient } = require(require.resolve("hume", { paths: [folder] }));

function follow(socket) {
  const seen = { events: [], errors: [], waiting: [], close: null };
  const settle = () => {
    seen.waiting = seen.waiting.filter(({ wanted, resolve }) => {
      const found = seen.events.find(wanted);
      if (found) resolve(found);
      return !found;
    });
  };
  socket.on("message", (event) => { seen.events.push(event); settle(); });
  socket.on("error", (error) => seen.errors.push(String(error.message ?? error)));
  seen.closed = new Promise((resolve) => socket.on("close", (event) => resolve(event.code)));
  seen.until = (wanted) => new Promise((resolve) => { seen.waiting.push({ wanted, resolve }); settle(); });
  return seen;
}

async function main() {
  const environment = { base: baseUrl, evi: baseUrl.replace("http", "ws") + "/v0/evi" };
  const client = new HumeClient({ apiKey, environment });

  const chat = client.empathicVoice.chat.connect({
    allowConnection: true,
    reconnectAttempts: 0,
    sessionSettings: { variables: { customer: "Ines" } },
  });
  const primary = follow(chat);
  await chat.waitForOpen();
  const { chatId } = await primary.until((event) => event.type === "chat_metadata");
  chat.sendUserInput("Hello, where is my parcel?");
  await primary.until((event) => event.type === "assistant_end");

  const plane = await client.empathicVoice.controlPlane.connect({ chat_id: chatId, reconnectAttempts: 0 });
  const observer = follow(plane);
  await plane.waitForOpen();
  await observer.until((event) => event.type === "assistant_end");

  plane.sendPublish({ type: "assistant_input", text: "One moment, a colleague is joining us." });
  const spoken = await observer.until((event) => event.type === "assistant_message" && event.fromText);

  const tools = [{ type: "function", name: "parcel_status", parameters: "{}" }];
  await client.empathicVoice.controlPlane.send(chatId, { type: "session_settings", tools });
  chat.sendUserInput("Please look up the parcel status.");
  const call = await observer.until((event) => event.type === "tool_call");
  plane.sendPublish({ type: "tool_response", toolCallId: call.toolCallId, content: "in Lyon" });
  const heard = await observer.until((event) => event.message?.content?.startsWith("This is what I found"));

  const typed = await observer.until((event) => event.type === "user_message");
  const prosody = await observer.until((event) => event.type === "assistant_prosody");
  const audio = await observer.until((event) => event.type === "audio_output");
  chat.close();
  const close = await observer.closed;
  const sendRefused = await client.empathicVoice.controlPlane
    .send(chatId, { type: "user_input", text: "Anyone?" }, { maxRetries: 0 })
    .then(() => 200, (error) => error.statusCode);

  console.log(JSON.stringify({
    primary: primary.events.map((event) => event.type),
    observer: observer.events.map((event) => event.type),
    unparsed: [...primary.errors, ...observer.errors],
    fields: {
      fromText: typed.fromText,
      isQuickResponse: heard.isQuickResponse,
      toolCallId: typeof call.toolCallId,
      responseRequired: call.responseRequired,
      scores: Object.keys(prosody.models.prosody.scores).length,
      audioBytes: Buffer.from(audio.data, "base64").subarray(0, 4).toString() === "RIFF",
    },
    spoken: spoken.message.content,
    heard: heard.message.content,
    close,
    sendRefused,
  }));
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
