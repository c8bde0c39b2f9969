// node --test tests/e2e/operator.test.mjs
//
// The operator's view in a real browser, against the real server; environment as in page.test.mjs.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import {
  CHUNKS,
  Server,
  UNSEEN,
  accessible,
  launchBrowser,
  launchBrowserWithoutScripts,
  photograph,
  shown,
  showsAll,
  troubles,
  until,
} from "./support.mjs";

const KB = 1000;
const VIEW = "**/operator/view?*";

describe("the operator's view", { timeout: 900_000 }, () => {
  let browser;
  let context;
  let folder;
  let found;
  let page;
  let server;

  before(async () => {
    browser = await launchBrowser();
  });

  after(() => browser?.close());

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "upload-operator-"));
    server = await Server.start(folder);
    context = await browser.newContext();
    page = await context.newPage();
    found = await troubles(page);
  });

  afterEach(async () => {
    try {
      // What is on its way may stay unanswered.
      await page?.unrouteAll({ behavior: "ignoreErrors" });
      await context?.close();
      assert.deepEqual(found.errors, []);
    } finally {
      await server?.stop("SIGKILL");
      await rm(folder, { recursive: true });
    }
  });

  /** Sends a chunk, the first unless an upload is given; gives the upload's id. */
  async function chunk(name, { id, user, at = 0, size, total = size }) {
    const form = new FormData();
    if (id) form.append("upload_id", id);
    form.append("file", new Blob([randomBytes(size)]), name);
    const headers = { "Content-Range": `bytes ${at}-${at + size - 1}/${total}` };
    if (user) headers.Cookie = `user=${user}`;
    const response = await fetch(`${server.url}${CHUNKS}`, { method: "POST", headers, body: form });
    assert.equal(response.status, 200, await response.clone().text());
    return (await response.json()).upload_id;
  }

  async function complete(name, size) {
    const form = new FormData();
    form.append("file", new Blob([randomBytes(size)]), name);
    const response = await fetch(`${server.url}${CHUNKS}_form`, { method: "POST", body: form });
    assert.equal(response.status, 200);
  }

  const go = () => page.goto(`${server.url}/operator`);
  const row = (name) =>
    page.locator("#rows > tr").filter({ has: page.getByText(name, { exact: true }) });
  const button = (label, name) =>
    page.getByRole("button", { name: `${label} ${name}`, exact: true });
  const tile = (name, text) =>
    page.locator(`[data-tile=${name}]`).getByText(text, { exact: true }).waitFor();

  test("what is there is counted, also what was there before the server started", async () => {
    await go();
    await page.getByText("There are none at the moment.").waitFor();
    const id = await chunk("one.bin", { size: 100 * KB, total: 400 * KB });
    await chunk("two.bin", { size: 50 * KB, total: 100 * KB, user: "ann" });
    await tile("moving", "2 with a chunk in the last 10\u00a0s");
    await complete("three.bin", 10 * KB);
    const counted = async () => {
      await tile("open", "2");
      await tile("bytes", "150\u00a0kB");
      await tile("announced", "of 500\u00a0kB announced, for unfinished uploads");
      await tile("oldest", "one.bin");
      await tile("complete", "1");
      await tile("expired", "0");
      await row("one.bin").getByText("100\u00a0kB of 400\u00a0kB · 25%").waitFor();
      await row("one.bin").getByText("no owner").waitFor();
    };
    await counted();
    const owner = await row("two.bin").locator(".owner").textContent();
    assert.match(owner, /^owner [0-9a-f]{16}$/, "a digest and not the cookie");

    await server.stop("SIGKILL");
    await page.getByText("The server has not answered since").waitFor();
    await server.launch();
    await page.locator("#notice").waitFor({ state: "hidden" });
    await counted();
    // When they have arrived is not known.
    await tile("moving", "0 with a chunk in the last 10\u00a0s");
    await row("one.bin").locator(".changed").getByText("before this start").waitFor();
    await chunk("one.bin", { id, at: 100 * KB, size: 100 * KB, total: 400 * KB });
    await tile("moving", "1 with a chunk in the last 10\u00a0s");
    await row("one.bin").locator(".changed").getByText(/^(just now|\d+\ss ago)$/).waitFor();
  });

  test("offsets move and the plots with them", async () => {
    const id = await chunk("moving.bin", { size: 100 * KB, total: 1000 * KB });
    await go();
    await row("moving.bin").getByText("10%").waitFor();
    const drawn = (name) => page.locator(`[data-plot=${name}] .line`).getAttribute("d");
    for (let at = 100; at < 500; at += 100) {
      await chunk("moving.bin", { id, at: at * KB, size: 100 * KB, total: 1000 * KB });
      await row("moving.bin").getByText(`${(at + 100) / 10}%`).waitFor();
    }
    await page.locator("tr.moving").waitFor();
    assert.equal(await page.locator("tr.moving").count(), 1);
    // A second without a byte follows, so the line ends on the ground.
    const ground = await page.waitForFunction(() => {
      const d = document.querySelector("[data-plot=bytes] .line").getAttribute("d");
      const heights = d.slice(1).split("L").map((point) => Number(point.split(" ")[1]));
      const label = document.querySelector("[data-plot=bytes] svg").getAttribute("aria-label");
      return Math.min(...heights) <= 50 && heights.at(-1) === 100 && label;
    });
    // One upload is half of what the axis shows.
    assert.match(await drawn("open"), / 50\.0$/);
    const axis = (name) => page.locator(`[data-plot=${name}] .heights span`).allTextContents();
    assert.deepEqual(await axis("open"), ["2", "1", "0"]);
    const [top, middle, bottom] = await axis("bytes");
    assert.match(top, /^[124680]+\s(kB|MB)\/s$/);
    assert.match(middle, /^\d+\s(bytes|kB|MB)\/s$/);
    assert.equal(bottom, "0\u00a0bytes/s");
    const times = await page.locator("[data-plot=bytes] .times").innerText();
    assert.match(times, /^5 min ago\s+2\.5 min ago\s+now$/);
    assert.match(await ground.jsonValue(), /^now 0\sbytes\/s, at most \d+(\.\d)?\s[kM]B\/s since \d\d:\d\d:\d\d$/);
    const caption = await page.locator("[data-plot=bytes] figcaption").textContent();
    assert.match(caption, /^Speed, since \d\d:\d\d:\d\d$/);
  });

  /** Changes what the server answers when it is asked for the view. */
  async function seenAs(change) {
    await page.route(VIEW, async (route) => {
      const response = await route.fetch();
      const view = await response.json();
      change(view);
      await route.fulfill({ response, json: view });
    });
  }

  test("the speed is that of ten seconds, and beside it stands the last one", async () => {
    const earlier = Array(290).fill(9 * KB);
    const bytes = [...earlier, ...Array(5).fill(0), ...Array(4).fill(20 * KB), 10 * KB];
    await seenAs((view) => {
      view.samples = bytes.map((count) => ({ at: view.now, bytes: count, open: 0 }));
    });
    await go();
    await tile("average", "9\u00a0kB/s");
    await tile("second", "10\u00a0kB in the last second");
    const label = await page.locator("[data-plot=bytes] svg").getAttribute("aria-label");
    assert.equal(label, "now 10\u00a0kB/s, at most 20\u00a0kB/s in five minutes");
    assert.equal(await page.locator("[data-plot=bytes] figcaption").textContent(), "Speed");
  });

  test("what has arrived is told apart from what is complete, and from what has no known size", async () => {
    await chunk("whole.bin", { size: 100 * KB });
    const tus = { "Tus-Resumable": "1.0.0" };
    const metadata = `filename ${btoa("endless.bin")}`;
    const endless = { ...tus, "Upload-Defer-Length": "1", "Upload-Metadata": metadata };
    const created = await fetch(`${server.url}/files`, { method: "POST", headers: endless });
    const url = new URL(created.headers.get("Location"), server.url);
    const contentType = "application/offset+octet-stream";
    const patch = { ...tus, "Upload-Offset": "0", "Content-Type": contentType };
    await go();
    await row("endless.bin").locator(".changed").getByText("none yet").waitFor();
    const sent = await fetch(url, { method: "PATCH", headers: patch, body: randomBytes(300 * KB) });
    assert.equal(sent.status, 204);
    const told = "100\u00a0kB · all received, not completed by its sender";
    await row("whole.bin").getByText(told, { exact: true }).waitFor();
    await row("endless.bin").getByText("300\u00a0kB of an unknown size", { exact: true }).waitFor();
    assert.equal(await row("whole.bin").locator("progress").isVisible(), true);
    assert.equal(await row("endless.bin").locator("progress").isVisible(), false);
  });

  test("a long name of the oldest one is not cut", async () => {
    await chunk("Interview with the harbour master.mov", { size: KB, total: 2 * KB });
    await go();
    await tile("oldest", "Interview with the harbour master.mov");
    const [needs, has] = await page
      .locator("[data-tile=oldest]")
      .evaluate(({ scrollWidth, scrollHeight, clientWidth, clientHeight }) => [
        [scrollWidth, scrollHeight],
        [clientWidth, clientHeight],
      ]);
    assert.deepEqual(needs, has);
  });

  const names = () => page.locator("#rows .name").allTextContents();
  const first = (name) => page.locator("#rows > tr:first-child .name").getByText(name, { exact: true });
  const last = (name) => page.locator("#rows > tr:last-child .name").getByText(name, { exact: true });

  test("among more uploads than are shown each one can be found", async () => {
    await chunk("oldest.bin", { size: KB, total: 2 * KB, user: "ann" });
    for (let n = 0; n < 102; n += 1) await chunk(`later ${n}.bin`, { size: KB, total: 2 * KB });
    await go();
    await page.getByText("101 of 103 are shown, the oldest among them.").waitFor();
    await first("later 101.bin").waitFor();
    await last("oldest.bin").waitFor();
    const owner = (await row("oldest.bin").locator(".owner").textContent()).replace("owner ", "");
    await page.getByLabel("Last chunk").selectOption("least recent first");
    await first("oldest.bin").waitFor();
    await last("later 98.bin").waitFor();
    await page.getByLabel("Name or owner").fill("LATER 101");
    await last("later 101.bin").waitFor();
    assert.deepEqual(await names(), ["later 101.bin"]);
    await page.getByLabel("Name or owner").fill(owner);
    await last("oldest.bin").waitFor();
    assert.deepEqual(await names(), ["oldest.bin"]);
    await page.getByLabel("Name or owner").fill("nothing has this");
    await page.getByText("None has this in its name or owner.").waitFor();
    await tile("open", "103");
  });

  test("the rows are in order, but do not move under the pointer", async () => {
    const a = await chunk("a.bin", { size: 100 * KB, total: 400 * KB });
    await chunk("b.bin", { size: 100 * KB, total: 400 * KB });
    await go();
    await row("b.bin").waitFor();
    assert.deepEqual(await names(), ["b.bin", "a.bin"]);
    await row("b.bin").hover();
    await chunk("a.bin", { id: a, at: 100 * KB, size: 100 * KB, total: 400 * KB });
    await row("a.bin").getByText("50%").waitFor();
    assert.deepEqual(await names(), ["b.bin", "a.bin"]);
    await page.mouse.move(0, 0);
    await first("a.bin").waitFor();
    assert.deepEqual(await names(), ["a.bin", "b.bin"]);
  });

  test("what is being saved is told of the unfinished ones", async () => {
    await chunk("one.bin", { size: KB, total: 2 * KB });
    await page.route(VIEW, async (route) => {
      const response = await route.fetch();
      return route.fulfill({ response, json: { ...(await response.json()), finishing: 1 } });
    });
    await go();
    await page.locator("[data-tile=moving]").getByText(/, 1 being saved$/).waitFor();
    await tile("open", "1");
  });

  test("an answer to an older question is not shown after one to a newer", async () => {
    await chunk("one.bin", { size: KB, total: 2 * KB });
    await chunk("two.bin", { size: KB, total: 2 * KB });
    // The page would not wait for the older answer until this test lets it come.
    await page.addInitScript(() => {
      AbortSignal.timeout = () => new AbortController().signal;
    });
    await go();
    await row("one.bin").waitFor();
    let older = null;
    await page.route(VIEW, (route) => {
      const find = new URL(route.request().url()).searchParams.get("find");
      // Only the first of them: the page looks by itself as well, and waits for that answer.
      if (find !== "one" || older) return route.fallback();
      older = route;
    });
    await page.getByLabel("Name or owner").fill("one");
    await until(() => older);
    await page.getByLabel("Name or owner").fill("two");
    await row("one.bin").waitFor({ state: "detached" });
    await older.continue();
    await (await older.request().response()).finished();
    // Whatever is drawn of it is drawn before the next answer is.
    await page.waitForResponse((response) => response.url().includes("find=two"));
    assert.deepEqual(await names(), ["two.bin"]);
  });

  test("what an action has done is told where it is seen, and not for ever", async () => {
    for (let n = 0; n < 20; n += 1) await chunk(`${n}.bin`, { size: KB, total: 2 * KB });
    await page.clock.install();
    await go();
    await last("0.bin").waitFor();
    await button("Cancel", "0.bin").click();
    await page.getByRole("button", { name: "Cancel it" }).click();
    const said = page.getByRole("status").getByText("0.bin is cancelled.", { exact: true });
    await said.waitFor();
    const [scrolled, height] = await page.evaluate(() => [scrollY, innerHeight]);
    assert.ok(scrolled > height / 2, "the page is scrolled");
    const { y } = await said.boundingBox();
    assert.ok(y >= 0 && y < 100, `told at ${y}`);
    await page.clock.fastForward(10_000);
    await said.waitFor({ state: "detached" });
  });

  test("after an action the focus is on the same button of the next row, or on the title", async () => {
    for (const name of ["c.bin", "b.bin", "a.bin"]) await chunk(name, { size: KB, total: 2 * KB });
    await go();
    await last("c.bin").waitFor();
    const focus = () =>
      page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.id);
    const act = async (label, name) => {
      await button(label, name).focus();
      await page.keyboard.press("Enter");
      await page.getByRole("button", { name: `${label} it` }).focus();
      await page.keyboard.press("Enter");
      await row(name).waitFor({ state: "detached" });
    };
    await act("Cancel", "a.bin");
    assert.equal(await focus(), "Cancel b.bin");
    await act("Expire", "b.bin");
    assert.equal(await focus(), "Expire c.bin");
    // Somebody else ends the last one while the question is open.
    await button("Cancel", "c.bin").focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    const id = await page.evaluate(async () => (await (await fetch("/operator/view")).json()).rows[0].id);
    await fetch(`${server.url}/operator/uploads/${id}`, { method: "DELETE" });
    await row("c.bin").waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => document.activeElement.id === "rows-title");
    await chunk("d.bin", { size: KB, total: 2 * KB });
    await act("Cancel", "d.bin");
    assert.equal(await focus(), "rows-title");
  });

  for (const [how, answer] of [
    ["refuses", (route) => route.abort()],
    ["is silent", () => {}],
    ["fails", (route) => route.fulfill({ status: 500 })],
  ]) {
    test(`while the server ${how}, what is shown is marked as old`, async () => {
      await chunk("some.bin", { size: KB, total: 2 * KB });
      await go();
      await button("Cancel", "some.bin").focus();
      await page.route(VIEW, answer);
      const told = /^The server has not answered since \d\d:\d\d:\d\d\. What is shown is from then\.$/;
      await page.getByRole("alert").getByText(told).waitFor();
      assert.equal(await page.locator("#view.old").count(), 1);
      assert.equal(await page.locator("table").evaluate((table) => table.inert), true);
      await page.unroute(VIEW);
      await page.locator("#notice").waitFor({ state: "hidden" });
      assert.equal(await page.locator("#view.old").count(), 0);
      assert.equal(await page.locator("table").evaluate((table) => table.inert), false);
      await page.waitForFunction(() => document.activeElement.matches(".cancel"));
    });
  }

  test("an upload is cancelled, after a question that can be answered with no", async () => {
    const id = await chunk("unwanted.bin", { size: KB, total: 2 * KB });
    await chunk("kept.bin", { size: KB, total: 2 * KB });
    await go();
    await button("Cancel", "unwanted.bin").focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog", { name: "Cancel unwanted.bin?" }).waitFor();
    await page.keyboard.press("Escape");
    assert.equal((await server.status(id)).status, 200);
    await button("Cancel", "unwanted.bin").click();
    await page.getByRole("button", { name: "Keep it" }).click();
    assert.equal((await server.status(id)).status, 200);
    await button("Cancel", "unwanted.bin").click();
    await page.getByRole("button", { name: "Cancel it" }).click();
    await page.getByRole("status").getByText("unwanted.bin is cancelled.").waitFor();
    await row("unwanted.bin").waitFor({ state: "detached" });
    assert.equal((await server.status(id)).status, 404);
    await tile("open", "1");
    await row("kept.bin").waitFor();
  });

  test("a question stands in one column, and its buttons beside each other", async () => {
    await chunk("asked.bin", { size: KB, total: 2 * KB });
    await go();
    await button("Cancel", "asked.bin").click();
    const box = (what) => page.locator(`#sure ${what}`).boundingBox();
    const [title, words, no, yes] = await Promise.all(
      ["h2", "p", "[value=no]", "[value=yes]"].map(box),
    );
    assert.equal(title.x, words.x);
    assert.ok(words.y >= title.y + title.height, "the words are beside the title");
    assert.ok(no.y >= words.y + words.height, "the buttons are beside the words");
    assert.equal(no.y, yes.y);
  });

  test("what can be done with an upload is explained where it can be done", async () => {
    await go();
    await page.getByText("There are none at the moment.").waitFor();
    assert.equal(await page.locator("#acts").isVisible(), false);
    await chunk("some.bin", { size: KB, total: 2 * KB });
    await page.getByText("Expire ends an upload as if its time were over").waitFor();
    await page.getByText("Cancel removes it and its bytes at once").waitFor();
  });

  test("the question before a cancellation has the bytes of now", async () => {
    const id = await chunk("grows.bin", { size: KB, total: 9 * KB });
    await go();
    await row("grows.bin").getByText("1 kB of 9 kB").waitFor();
    await chunk("grows.bin", { id, at: KB, size: 2 * KB, total: 9 * KB });
    await row("grows.bin").getByText("3 kB of 9 kB").waitFor();
    await button("Cancel", "grows.bin").click();
    await page.getByText("Its 3 kB are deleted at once").waitFor();
  });

  test("without JavaScript it says so, and nothing else of what it does not know", async () => {
    const plain = await launchBrowserWithoutScripts();
    try {
      const still = await plain.newPage();
      await still.goto(`${server.url}/operator`);
      const words = await still.locator("main").innerText();
      assert.match(words, /^Uploads\s+This page needs JavaScript to ask the server\.\s*$/);
    } finally {
      await plain.close();
    }
  });

  test("axe finds nothing, whether there is something to see, something asked, nothing or no answer", async () => {
    await go();
    await page.getByText("There are none at the moment.").waitFor();
    await accessible(page);
    await chunk("some.bin", { size: KB, total: 2 * KB });
    await chunk("שלום\u202e (1).txt", { size: KB, total: 2 * KB, user: "ann" });
    await row("some.bin").waitFor();
    await accessible(page);
    await button("Cancel", "some.bin").click();
    await page.getByRole("dialog").waitFor();
    await accessible(page);
    await page.keyboard.press("Escape");
    await page.route(VIEW, (route) => route.abort());
    await page.locator("#view.old").waitFor();
    await accessible(page);
  });

  test("an upload expires at the operator's word", async () => {
    const id = await chunk("late.bin", { size: KB, total: 2 * KB });
    await go();
    await button("Expire", "late.bin").click();
    await page.getByRole("button", { name: "Expire it" }).click();
    await page.getByRole("status").getByText("late.bin has expired.").waitFor();
    await row("late.bin").waitFor({ state: "detached" });
    await tile("expired", "1");
    await tile("open", "0");
    assert.equal((await server.status(id)).status, 410);
  });

  test("what is gone by then is told", async () => {
    const id = await chunk("gone.bin", { size: KB, total: 2 * KB });
    await go();
    await button("Cancel", "gone.bin").click();
    await page.route(VIEW, (route) => route.abort());
    await fetch(`${server.url}${CHUNKS}?upload_id=${id}`, { method: "DELETE" });
    await page.getByRole("button", { name: "Cancel it" }).click();
    await page.getByRole("status").getByText("It is not there any more.").waitFor();
  });

  test("no form of another site can end an upload", async () => {
    const id = await chunk("safe.bin", { size: KB, total: 2 * KB });
    for (const url of [`/operator/uploads/${id}`, `/operator/uploads/${id}/expired`]) {
      for (const method of ["GET", "POST"]) {
        assert.equal((await fetch(`${server.url}${url}`, { method })).status, 405);
      }
    }
    assert.equal((await server.status(id)).status, 200);
  });

  test("names are shown as they are", async () => {
    const name = '<img src=x onerror="document.title=1"> Größe 📦.bin';
    await chunk(name.replaceAll('"', "'"), { size: KB, total: 2 * KB });
    await go();
    await row(name.replaceAll('"', "'")).waitFor();
    assert.equal(await page.title(), "Uploads");
    assert.equal(await page.locator("td img, th img").count(), 0);
  });

  test("nothing hides in a name, nor turns it around", async () => {
    const name = "invoice\u202egpj.exe";
    await chunk(name, { size: KB, total: 2 * KB });
    for (const [n, character] of UNSEEN.entries()) {
      await chunk(`${n}${character}.txt`, { size: KB, total: 2 * KB });
    }
    await go();
    await row("invoice⟨U+202E⟩gpj.exe").waitFor();
    await tile("oldest", shown(name));
    assert.equal(await row(shown(name)).locator(".name .mark").textContent(), "⟨U+202E⟩");
    for (const [n, character] of UNSEEN.entries()) await row(shown(`${n}${character}.txt`)).waitFor();
    await showsAll(page);
    await button("Cancel", shown(name)).click();
    await page.getByRole("dialog", { name: `Cancel ${shown(name)}?` }).waitFor();
    await showsAll(page);
    await page.getByRole("button", { name: "Cancel it" }).click();
    await page.getByRole("status").getByText(`${shown(name)} is cancelled.`).waitFor();
    await showsAll(page);
  });

  test("a name that is read from right to left moves nothing around it", async () => {
    const name = "שלום (1).txt";
    await chunk(name, { size: KB, total: 2 * KB });
    await go();
    await button("Cancel", name).click();
    await page.locator("#sure h2 bdi").getByText(name, { exact: true }).waitFor();
    await page.getByRole("button", { name: "Cancel it" }).click();
    await page.locator("#said bdi").getByText(name, { exact: true }).waitFor();
  });

  test("it looks right in light, dark and narrow windows", async () => {
    const names = [
      "Interview with the harbour master, uncut.mov",
      "measurements-2026.parquet",
      "invoice\u202egpj.exe",
      "IMG_20260914_101233-a-name-without-any-space-in-it-that-is-rather-long.jpeg",
    ];
    const ids = [];
    for (const [n, name] of names.entries()) {
      ids.push(await chunk(name, { size: (n + 1) * 90 * KB, total: 1000 * KB, user: `user${n}` }));
    }
    await complete("report.pdf", 200 * KB);
    await go();
    for (let at = 90; at < 900; at += 90) {
      const step = { id: ids[0], user: "user0", at: at * KB, size: 90 * KB, total: 1000 * KB };
      await chunk(names[0], step);
      await row(names[0]).getByText(`${(at + 90) / 10}%`.replace(".0", "")).waitFor();
    }
    await photograph(page, "operator");
  });
});
