// The collect room as src/server sees it.
export { type Collect, createCollect } from './collect.ts';
export { collectSettings } from './config.ts';
export { registerCollectDocs } from './docs.ts';
export { collectServerOptions } from './server-options.ts';
