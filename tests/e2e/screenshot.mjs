// node tests/e2e/screenshot.mjs
//
// Takes the picture of the README, examples/page.png; environment as in page.test.mjs.

import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { ROOT, Server, launchBrowser, randomFile } from "./support.mjs";

const MB = 1000 * 1000;
const PICTURE = path.join(ROOT, "examples/page.png");
const LARGEST = 100_000;

const folder = await mkdtemp(path.join(tmpdir(), "upload-picture-"));
const server = await Server.start(folder);
const browser = await launchBrowser();
try {
  const page = await browser.newPage({
    viewport: { width: 1000, height: 1200 },
    colorScheme: "light",
    reducedMotion: "reduce",
  });
  await page.goto(`${server.url}/?chunk=${MB}`);
  const row = (name, state) =>
    page.locator(`#list > li[data-state=${state}]`).filter({ has: page.getByText(name, { exact: true }) });
  const network = await page.context().newCDPSession(page);
  const throttle = (uploadThroughput) =>
    network.send("Network.emulateNetworkConditions", {
      offline: false,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput,
    });

  const [done, paused, running] = ["harbour at dawn.jpg", "measurements 2026.parquet", "interview, uncut.mov"];
  const sunrise = path.join(folder, done);
  await writeFile(sunrise, await page.evaluate(paint).then((text) => Buffer.from(text, "base64")));
  await network.send("Network.enable");
  await throttle(8 * MB);
  await page.setInputFiles("#files", [
    sunrise,
    await randomFile(folder, running, 48 * MB),
    await randomFile(folder, paused, 24 * MB),
  ]);
  await row(done, "done").waitFor();
  await row(paused, "sending").getByText(/^Sending, 4\d%$/).waitFor();
  await page.getByRole("button", { name: `Pause ${paused}` }).click();
  await row(paused, "paused").waitFor();
  await throttle(4 * MB);
  await row(running, "sending").getByText(/^Sending, 6\d%$/).waitFor();
  await row(running, "sending").getByText(/left$/).waitFor();
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.move(0, 0);
  const { y, height } = await page.locator("#uploads").boundingBox();
  const clip = { x: 0, y: 24, width: 1000, height: Math.ceil(y + height) };
  await page.screenshot({ path: PICTURE, clip, animations: "disabled" });
} finally {
  await browser.close();
  await server.stop("SIGKILL");
  await rm(folder, { recursive: true });
}
const { size } = await stat(PICTURE);
assert.ok(size <= LARGEST, `${PICTURE} has ${size} bytes`);
console.log(`${PICTURE}: ${size} bytes`);

/** A photograph of a sunrise, more or less, as base64. */
function paint() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 960, height: 960 });
  const pen = canvas.getContext("2d");
  const sky = pen.createLinearGradient(0, 0, 0, 620);
  for (const [at, colour] of ["#26395f", "#d9775b", "#f6c667"].entries()) sky.addColorStop(at / 2, colour);
  pen.fillStyle = sky;
  pen.fillRect(0, 0, 960, 620);
  pen.fillStyle = "#fff1c9";
  pen.beginPath();
  pen.arc(600, 600, 130, 0, 7);
  pen.fill();
  pen.fillStyle = "#1d4a5c";
  pen.fillRect(0, 620, 960, 340);
  pen.fillStyle = "#f6c667";
  for (let y = 660; y < 900; y += 60) pen.fillRect(600 - (900 - y) / 3, y, (900 - y) / 1.5, 18);
  return canvas.toDataURL("image/jpeg", 0.9).split(",")[1];
}
