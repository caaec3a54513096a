// Writes the types of both ports to generated/, from the documents of a Tally that runs.

import { execFileSync } from "node:child_process";

const ports = {
  write: process.env.WRITE_URL ?? "http://127.0.0.1:8080",
  read: process.env.READ_URL ?? "http://127.0.0.1:3000",
};

for (const [name, url] of Object.entries(ports)) {
  const document = `${url}/openapi.json`;
  const response = await fetch(document).catch(() => undefined);
  if (!response?.ok) {
    console.error(`no Tally answers at ${document}: start one, or set ${name.toUpperCase()}_URL`);
    process.exit(1);
  }
  execFileSync("node_modules/.bin/openapi-typescript", [document, "--output", `generated/${name}.ts`], { stdio: "inherit" });
}
