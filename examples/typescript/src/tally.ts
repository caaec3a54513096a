// A client of both ports of Tally. The types are made from their OpenAPI documents by `npm run generate`.

import createClient, { type Client, type Middleware } from "openapi-fetch";

import type { components as ReadComponents, paths as ReadPaths } from "../generated/read.js";
import type { components as WriteComponents, paths as WritePaths } from "../generated/write.js";

export type Problem = ReadComponents["schemas"]["Problem"] | WriteComponents["schemas"]["Problem"];

export interface Options {
  writeUrl: string;
  readUrl: string;
  /** A key or a token of a user; an open server needs none. */
  credential?: string;
}

export interface Tally {
  write: Client<WritePaths>;
  read: Client<ReadPaths>;
}

/** Both clients. Their reads show what was written and read through them before. */
export function connect({ writeUrl, readUrl, credential }: Options): Tally {
  const headers = credential === undefined ? {} : { Authorization: `Bearer ${credential}` };
  const write = createClient<WritePaths>({ baseUrl: writeUrl, headers });
  const read = createClient<ReadPaths>({ baseUrl: readUrl, headers });
  const positions = new Positions();
  write.use(positions.ofWrites());
  read.use(positions.ofReads());
  return { write, read };
}

/** What was answered, or an error that says why it was refused. */
export function answered<T>(result: { data?: T; error?: Problem; response: Response }): T {
  if (result.data !== undefined) return result.data;
  const { response, error } = result;
  throw new Error(`${response.status} ${error?.code ?? response.statusText}: ${error?.detail ?? response.url}`);
}

/** How many positions are kept. The oldest gives way: later ones of its chat include it. They must all fit into the head of a read. */
const MAX_POSITIONS = 200;

/** The positions of what this client has written and seen. A read that awaits them all shows all of it. */
class Positions {
  /** Each until a read has awaited it: of simultaneous writes, the one that is answered last may have the lowest. */
  #known = new Set<string>();

  ofWrites(): Middleware {
    return {
      onResponse: ({ response }) => {
        const position = response.headers.get("Log-Position");
        if (position !== null) this.#keep(position);
      },
    };
  }

  ofReads(): Middleware {
    return {
      onRequest: ({ request }) => {
        if (this.#known.size > 0) request.headers.set("Await-Position", [...this.#known].join(","));
      },
      onResponse: ({ request, response }) => {
        // The log was replaced, and has none of them.
        if (response.status === 409) this.#known.clear();
        const position = response.headers.get("Log-Position");
        if (position === null) return;
        // It includes those that the read has awaited, but not those of writes that were answered meanwhile.
        for (const included of request.headers.get("Await-Position")?.split(",") ?? []) this.#known.delete(included);
        this.#keep(position);
      },
    };
  }

  #keep(position: string): void {
    this.#known.add(position);
    for (const oldest of this.#known) {
      if (this.#known.size <= MAX_POSITIONS) return;
      this.#known.delete(oldest);
    }
  }
}
