// The page at `/` in headless Chromium: node page.mjs URL CHROMIUM
import assert from "node:assert/strict";
import { createRequire } from "node:module";

// Packages are not beside this file but where they were installed.
const require = createRequire(process.cwd() + "/");
const { chromium } = require("playwright-core");
const [url, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 900, height: 620 } });
  const errors = [];
  page.on("pageerror", error => errors.push(error.message));
  page.on("console", message => message.type() === "error" && errors.push(message.text()));
  const answers = () => page.locator("article.assistant");
  const button = page.locator("#send");
  const ask = async (text) => {
    await page.fill("#text", text);
    await page.keyboard.press("Enter");
  };
  // Done: the button sends again.
  const done = () => page.waitForFunction(() => document.getElementById("send").textContent === "Send");

  // An answer that is long enough to be stopped, whatever the machine is busy with.
  const STORY = "Write a very long story about a dog, a cat and a bird. Do not stop.";
  const grown = () =>
    page.waitForFunction(() => [...document.querySelectorAll("article.assistant span")].at(-1).textContent.length > 20);

  page.setDefaultTimeout(120_000);
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("model").textContent !== "wgllm");
  console.log("the page knows its model");

  // The page itself looks on: what is asked of it from here may come too late to see an answer grow.
  await page.evaluate(() => {
    window.lengths = new Set();
    const look = () => window.lengths.add(document.querySelector("article.assistant span")?.textContent.length);
    new MutationObserver(look).observe(document.getElementById("log"), { childList: true, characterData: true, subtree: true });
  });
  await ask("What is the capital of France?");
  await page.waitForSelector("article.assistant small");
  await done();
  const lengths = await page.evaluate(() => window.lengths.size);
  assert.ok(lengths > 3, `the answer grew in ${lengths} steps`);
  const first = await answers().last().textContent();
  assert.match(first, /tokens\/s/);
  console.log(`an answer grows, in ${lengths} steps`);

  await ask(STORY);
  await grown();
  await button.click();
  await done();
  const stopped = await answers().last().textContent();
  assert.match(stopped, /stopped$/);
  await page.waitForTimeout(300);
  assert.equal(await answers().last().textContent(), stopped, "it goes on behind its stop");
  console.log("an answer stops");
  // The server noticed.
  for (let tries = 0; ; tries++) {
    const ready = await (await fetch(url + "/ready")).json();
    if (ready.running === 0) break;
    assert.ok(tries < 50, "its slot is not free");
    await page.waitForTimeout(100);
  }

  const count = await page.locator("article").count();
  await page.reload();
  await page.waitForFunction(() => document.getElementById("model").textContent !== "wgllm");
  assert.equal(await page.locator("article").count(), count, "a reload keeps the conversation");
  assert.ok(first.startsWith(await answers().first().textContent()), "a reload keeps what was answered");
  await ask(STORY);
  await grown();
  await button.click();
  await done();
  assert.equal(await page.locator("article").count(), count + 2, "the conversation goes on");
  // In the middle of an answer, of which nothing is left.
  await ask(STORY);
  await grown();
  await page.click("#clear");
  assert.equal(await page.locator("article").count(), 0);
  await ask("What is the capital of France?");
  await page.waitForSelector("article.assistant small");
  assert.equal(await page.locator("article").count(), 2);
  console.log("a reload keeps the conversation, and a new one can be begun");
  assert.deepEqual(errors, [], "errors in the page");
} finally {
  await browser.close();
}
