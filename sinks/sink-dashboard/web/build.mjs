// Bundles the sources into the folder named on the command line: one file each for the script, the script that sets the
// theme before the first paint, the styles and the icon. Names carry a hash of the content; each file has a .br and a .gz
// beside it; assets.txt lists logical name and file name.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join, parse } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const out = process.argv[2];
if (!out) throw new Error("usage: node build.mjs FOLDER");
await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });

const entries = {
  "app.js": "src/main.ts",
  "theme.js": "src/theme.ts",
  "app.css": "styles/main.css",
  "icon.svg": "images/icon.svg",
};
const result = await build({
  entryPoints: Object.entries(entries).map(([name, path]) => ({ in: path, out: parse(name).name })),
  outdir: out,
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "iife",
  // light-dark() in the styles is the youngest thing that browsers must know.
  target: ["es2022", "chrome123", "firefox120", "safari17.5"],
  loader: { ".svg": "copy" },
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

const lines = [];
for (const [path, output] of Object.entries(result.metafile.outputs)) {
  // A copied file has no entry point of its own in the metafile; its input says what it is.
  const source = output.entryPoint ?? Object.keys(output.inputs)[0];
  const logical = Object.keys(entries).find((name) => entries[name] === source);
  if (!logical) throw new Error(`${path} comes from ${source}, which is no entry`);
  const bytes = await readFile(path);
  const quality = {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  };
  await writeFile(`${path}.br`, brotliCompressSync(bytes, quality));
  await writeFile(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  lines.push(`${logical} ${basename(path)}`);
}
await writeFile(join(out, "assets.txt"), `${lines.sort().join("\n")}\n`);
