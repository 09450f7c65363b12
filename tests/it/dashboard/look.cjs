// Looks at the pages as a person would, in Chromium, and prints what it saw as JSON.
"use strict";

const task = JSON.parse(process.argv[2]);
const path = require("node:path");
const { chromium } = require(path.join(task.modules, "playwright-core"));
const axe = require.resolve(path.join(task.modules, "axe-core/axe.min.js"));

const seen = { foreign: [], console: [], dialogs: [], violations: [], wide: [], answers: {} };
const own = new URL(task.address).host;

async function watched(browser, options) {
  // The checker of accessibility is put in from outside, which the page's own policy would not let it be.
  const context = await browser.newContext({ bypassCSP: false, ...options });
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (!["file:", "data:", "blob:"].includes(url.protocol) && url.host !== own) seen.foreign.push(request.url());
  });
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.console.push(message.text());
  });
  context.on("dialog", async (dialog) => {
    seen.dialogs.push(dialog.message());
    await dialog.dismiss();
  });
  return context;
}

async function check(browser, name, url, options) {
  const context = await browser.newContext({ bypassCSP: true, ...options });
  const page = await context.newPage();
  await page.goto(url);
  await page.addScriptTag({ path: axe });
  const result = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"] }));
  for (const violation of result.violations) {
    seen.violations.push({ page: name, id: violation.id, help: violation.help, nodes: violation.nodes.slice(0, 3).map((node) => node.html) });
  }
  const width = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (width > 0) seen.wide.push(`${name}: ${width}`);
  await page.screenshot({ path: path.join(task.screens, `${name}.png`), fullPage: false });
  await context.close();
}

async function main() {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const odd = `${task.address}item?source=files&item=${encodeURIComponent(task.markup)}`;
  const pages = {
    overview: task.address,
    item: `${task.address}item?source=tenants&item=tenant_0007`,
    odd,
    source: `${task.address}source?source=tenants`,
    runs: `${task.address}runs`,
    run: `${task.address}runs/going-on`,
    missing: `${task.address}item?source=a&item=b`,
    report: task.report,
  };
  const lights = { light: { colorScheme: "light" }, dark: { colorScheme: "dark" }, narrow: { viewport: { width: 360, height: 740 } } };
  // What is checked of a row is checked of few: a thousand take minutes.
  const few = { ...pages, overview: `${task.address}?q=tenant_000` };
  delete few.report;
  for (const [light, options] of Object.entries(lights)) {
    for (const [name, url] of Object.entries(few)) await check(browser, `${name}-${light}`, url, options);
  }

  const context = await watched(browser, {});
  const page = await context.newPage();
  const is = async (question, answer) => { seen.answers[question] = Boolean(await answer); };
  await page.goto(task.address);
  await is("the title says the worst", (await page.title()).includes("✗"));
  await is("the headline says the worst", (await page.textContent("h1")).includes("failed"));
  await is("three answers", (await page.locator(".answer .number").count()) === 3);
  await is("a thousand items", (await page.locator("table.items tbody tr").count()) > 1000);
  const first = await page.textContent("table.items tbody tr th");
  await is("the worst comes first", ["gone", "tenants/tenant_0007"].some((name) => first.includes(name)));
  const state = await page.textContent("table.items tbody tr .badge");
  await is("states are words, not colours alone", state.includes("failed"));
  await is("a run is going on", (await page.textContent(".running")).includes("running"));

  await page.fill("form.filter input[name=q]", "tenant_0999");
  await is("typing filters at once", (await page.locator("table.items tbody tr:visible").count()) === 1);
  await page.fill("form.filter input[name=q]", "");
  await page.click("thead a:has-text('Size')");
  await page.waitForLoadState();
  await is("sorting is a link", page.url().includes("sort=size"));
  await is("the order is told to those who do not see it", (await page.getAttribute("thead th[aria-sort]", "aria-sort")) === "ascending");
  await page.goto(task.address);
  await page.keyboard.press("Tab");
  await is("the keyboard comes to the content first", (await page.evaluate(() => document.activeElement.textContent)) === "Skip to the content");

  await page.goto(odd);
  await is("markup in a name stays text", (await page.textContent("h1")).includes("<img src=x onerror=alert(1)>"));
  await is("no picture was made of it", (await page.locator("main img").count()) === 0);
  await is("snapshots say why they stay", (await page.textContent("main")).includes("kept: "));
  await is("commands to copy", (await page.textContent("pre.copy >> nth=1")).includes("restic restore latest"));
  await page.goto(pages.item);
  await is("errors in full", (await page.textContent("main")).includes("permission denied for table <b>orders</b>"));
  await is("what to do", (await page.textContent("main")).includes("GRANT pg_read_all_data"));
  await page.goto(pages.source);
  await is("what is excluded, and by which rule", (await page.textContent("main")).includes("exclude: scratch_*"));
  await page.goto(pages.runs);
  await is("how far the run is", (await page.textContent(".run")).includes("589 left"));
  await is("how fast", (await page.textContent(".run")).includes("100.0 MiB/s"));
  await page.screenshot({ path: path.join(task.screens, "runs.png") });
  await page.goto(task.address);
  await page.screenshot({ path: path.join(task.screens, "overview.png") });
  await page.goto(task.report);
  await page.screenshot({ path: path.join(task.screens, "report.png") });
  await is("the report is the same first view", (await page.locator(".answer .number").count()) === 3);
  await context.close();

  const plain = await watched(browser, { javaScriptEnabled: false });
  const quiet = await plain.newPage();
  await quiet.goto(task.address);
  await quiet.fill("form.filter input[name=q]", "tenant_0998");
  await quiet.click("form.filter button");
  await quiet.waitForLoadState();
  await is("filtering works without a script", (await quiet.locator("table.items tbody tr").count()) === 1);
  await plain.close();
  await browser.close();
  console.log(JSON.stringify(seen));
}

main().catch((error) => { console.error(error); process.exit(1); });
