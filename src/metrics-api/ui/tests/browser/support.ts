import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";

const SCREENSHOTS = fileURLToPath(new URL("../../../../../.cache/screenshots/", import.meta.url));
const AXE = fileURLToPath(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url));
// A fresh profile that asks nobody outside this machine for anything.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];

function setting(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: tests/e2e/test_live_page.py starts these tests`);
  return value;
}

/** Address of the page, ending in a slash. */
export const PAGE_URL = setting("PAGE_URL").replace(/\/?$/, "/");

export async function launch(): Promise<Browser> {
  const found = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));
  const executablePath = process.env.CHROMIUM ?? found;
  assert.ok(executablePath, "no Chromium: install your system's package (Debian: chromium)");
  return chromium.launch({ executablePath, args: FLAGS });
}

/** A tab on the page that notes whatever went wrong in it. */
export class Tab {
  readonly page: Page;
  readonly errors: string[] = [];
  readonly origins = new Set<string>();

  private constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => {
      if (message.type() === "error") this.errors.push(message.text());
    });
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("request", (request) => this.origins.add(new URL(request.url()).origin));
  }

  /** Open the page; `prepare` is done before it is asked for. */
  static async open(
    browser: Browser,
    query = "",
    options: BrowserContextOptions = {},
    prepare: (page: Page) => Promise<unknown> = async () => {},
  ): Promise<Tab> {
    const context = await browser.newContext({
      viewport: { width: 1400, height: 900 },
      colorScheme: "light",
      ...options,
    });
    const tab = new Tab(await context.newPage());
    tab.page.setDefaultTimeout(20_000);
    await prepare(tab.page);
    await tab.page.goto(PAGE_URL + query);
    return tab;
  }

  async close(): Promise<void> {
    await this.page.context().close();
    assert.deepEqual(this.errors, [], "the console shows errors");
  }

  /** Wait until the page says this about itself; return the milliseconds that took. */
  async condition(name: string, timeout = 20_000): Promise<number> {
    const started = performance.now();
    await this.page.locator(`.status[data-condition="${name}"]`).waitFor({ timeout });
    return performance.now() - started;
  }

  /** The text of a tile. */
  async figure(name: string): Promise<string> {
    return (await this.page.locator(`[data-figure="${name}"]`).innerText()).trim();
  }

  /** Wait until the numbers of the present filters are there. */
  async settled(): Promise<void> {
    await this.page.locator('.panel[aria-busy="true"]').first().waitFor({ state: "detached" });
  }

  async shoot(name: string): Promise<void> {
    mkdirSync(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: `${SCREENSHOTS}live-${name}.png`, fullPage: true });
  }

  /** What axe-core finds that would keep somebody from using the page. */
  async obstacles(): Promise<string[]> {
    // By the driver's own door: the page's policy allows no foreign script.
    await this.page.evaluate(readFileSync(AXE, "utf8"));
    return this.page.evaluate(async () => {
      const { axe } = globalThis as unknown as {
        axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> };
      };
      const { violations } = await axe.run();
      return violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
    });
  }
}

/** The database behind the page, asked directly. */
export class Database {
  readonly #client = new pg.Client({ connectionString: setting("DATABASE_URL") });

  static async connect(): Promise<Database> {
    const database = new Database();
    await database.#client.connect();
    return database;
  }

  async rows(sql: string, values: unknown[] = []): Promise<Record<string, string | null>[]> {
    return (await this.#client.query(sql, values)).rows;
  }

  async one(sql: string, values: unknown[] = []): Promise<Record<string, string | null>> {
    const [row] = await this.rows(sql, values);
    assert.ok(row);
    return row;
  }

  close(): Promise<void> {
    return this.#client.end();
  }
}

/** A program that the tests hold still for a while, as if it had stopped. */
export class Program {
  readonly #pid: number;

  constructor(variable: string) {
    this.#pid = Number(setting(variable));
  }

  hold(): void {
    process.kill(this.#pid, "SIGSTOP");
  }

  release(): void {
    process.kill(this.#pid, "SIGCONT");
  }
}
