/** One block of an event stream that carried data. */
export interface StreamEvent {
  id: string | null;
  data: string;
}

/**
 * Cuts the text of an event stream into events. `EventSource` would do that too, but it can send
 * no bearer token, and it hides why a server refused.
 */
export class EventStreamParser {
  #rest = "";
  #id: string | null = null;
  #data: string[] = [];

  /** Take the next piece of text and return the events that it completed. */
  push(text: string): StreamEvent[] {
    const events: StreamEvent[] = [];
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line !== "") {
        this.#field(line);
      } else if (this.#data.length > 0) {
        events.push({ id: this.#id, data: this.#data.join("\n") });
        this.#data = [];
      }
    }
    return events;
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "id") this.#id = value;
  }
}
