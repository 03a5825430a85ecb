// The page at `/`: says that Pulse runs and where to go next. Plain HTML without scripts.
import type { FastifyInstance } from 'fastify';
import { version } from './version.ts';

const links: readonly (readonly [path: string, what: string])[] = [
  ['/docs', 'Every route, to read and to try'],
  ['/openapi.json', 'The same as OpenAPI 3.1'],
  ['/readyz', 'Every dependency, asked now'],
  ['/metrics', 'Metrics for Prometheus'],
];

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pulse</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 4rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } p { margin-top: .25rem; opacity: .75; }
li { margin: .5rem 0; } code { font-size: .95em; }
</style>
</head>
<body>
<h1>Pulse is running</h1>
<p>Version ${version}. The terminal that started it shows a <code>curl</code> to paste.</p>
<ul>${links.map(([path, what]) => `<li><a href="${path}">${path}</a> – ${what}</li>`).join('')}</ul>
</body>
</html>
`;

export function registerStartPage(app: FastifyInstance): void {
  app.get('/', { schema: { hide: true } }, async (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .send(page),
  );
}
