// Hands WGSL texts to Tint, Chromium's front end, in Dawn for Node: node tint.mjs FOLDER-OF-THE-PACKAGE FILE...
// A line for each: "taken NAME", or "refused NAME" and the message. Run by .ci/platforms.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [dawn, ...files] = process.argv.slice(2);
const { create } = await import(pathToFileURL(path.resolve(dawn, 'index.js')));
// Held in a variable: Dawn's adapter does not outlive it.
const gpu = create([]);
const adapter = await gpu.requestAdapter();
if (!adapter) {
  console.log('no adapter for Dawn');
  process.exit(2);
}
// Nothing is asked of the adapter but what texts name: a module needs no more.
const optional = ['subgroups', 'shader-f16'].filter(feature => adapter.features.has(feature));
const device = await adapter.requestDevice({ requiredFeatures: optional });

for (const file of files) {
  const name = path.basename(file);
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: fs.readFileSync(file, 'utf8') });
  const { messages } = await module.getCompilationInfo();
  const fault = messages.find(m => m.type === 'error');
  const refused = await device.popErrorScope();
  if (!fault && !refused) console.log(`taken ${name}`);
  else console.log(`refused ${name} (line ${fault?.lineNum ?? 0})\n${fault?.message ?? refused.message}`);
}
// Dawn keeps the process alive.
process.exit(0);
