// The `openai` package of npm against a server: node openai_node.mjs URL
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

// Packages are not beside this file but where they were installed.
const require = createRequire(process.cwd() + "/");
const { default: OpenAI } = await import(require.resolve("openai"));
const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const asked = {
  model, max_tokens: 24, temperature: 0,
  messages: [{ role: "user", content: "What is the capital of France?" }],
};
const tools = [{
  type: "function",
  function: { name: "get_weather", parameters: {
    type: "object", required: ["city"], properties: { city: { type: "string", enum: ["Oslo", "Rome"] } },
  } },
}];

const checks = {
  async isChat() {
    const answer = await client.chat.completions.create(asked);
    assert.match(answer.choices[0].message.content, /Paris/);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  },
  async isStreamed() {
    const whole = (await client.chat.completions.create(asked)).choices[0].message.content;
    let text = "", usage = null;
    const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole);
    assert.ok(usage.completion_tokens > 0);
    assert.equal(await client.chat.completions.stream(asked).finalContent(), whole);
  },
  async hasChoices() {
    const answer = await client.chat.completions.create({ ...asked, n: 2, temperature: 1, seed: 3 });
    assert.deepEqual(answer.choices.map(choice => choice.index), [0, 1]);
  },
  async hasLogprobs() {
    const answer = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 2, max_tokens: 5 });
    const tokens = answer.choices[0].logprobs.content;
    assert.equal(tokens.length, 5);
    assert.ok(tokens.every(token => token.top_logprobs.length === 2 && token.logprob <= 0));
  },
  async stops() {
    const answer = await client.chat.completions.create({ ...asked, stop: "Paris" });
    assert.doesNotMatch(answer.choices[0].message.content, /Paris/);
    assert.equal(answer.choices[0].finish_reason, "stop");
  },
  async takesTools() {
    const messages = [
      ...asked.messages,
      { role: "assistant", tool_calls: [{ id: "call_1", type: "function", function: { name: "get_weather", arguments: "{}" } }] },
      { role: "tool", tool_call_id: "call_1", content: "rain" },
    ];
    const whole = await client.chat.completions.create({ ...asked, messages, tools });
    const final = await client.chat.completions.stream({ ...asked, messages, tools }).finalChatCompletion();
    assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
  },
  async mustCall() {
    const answer = await client.chat.completions.create({ ...asked, tools, tool_choice: "required", max_tokens: 96 });
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, "get_weather");
    assert.ok(["Oslo", "Rome"].includes(JSON.parse(call.function.arguments).city));
  },
  async keepsToSchema() {
    const schema = {
      type: "object", required: ["name"], additionalProperties: false, properties: { name: { enum: ["Paris", "Lyon"] } },
    };
    const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
    const answer = await client.chat.completions.create({ ...asked, response_format, max_tokens: 96 });
    assert.ok(["Paris", "Lyon"].includes(JSON.parse(answer.choices[0].message.content).name));
  },
  async responds() {
    const input = { model, input: "What is the capital of France?", max_output_tokens: 24, temperature: 0 };
    const answer = await client.responses.create(input);
    assert.match(answer.output_text, /Paris/);
    const final = await client.responses.stream(input).finalResponse();
    assert.equal(final.output_text, answer.output_text);
  },
  async refuses() {
    await assert.rejects(client.chat.completions.create({ ...asked, temperature: -1 }), error => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.param, "temperature");
      return true;
    });
    await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
  },
  async breaksOff() {
    const stream = await client.chat.completions.create({ ...asked, max_tokens: 400, stream: true });
    for await (const _ of stream) break;
    await this.isChat();
  },
};
const { version } = JSON.parse(await readFile("node_modules/openai/package.json", "utf8"));
for (const name of Object.keys(checks)) {
  await checks[name]();
  console.log(`openai ${version} (Node): ${name}`);
}
