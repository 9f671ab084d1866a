// A backend for frontends as many are built, before Rejoin: node express.mjs <url of Rejoin> [strip]. With `strip` it takes
// `no-transform` away. It says where it listens, and ends when standard input does.

import compression from 'compression';
import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';

const [target, strip] = process.argv.slice(2);
const proxyRes = (response) => {
  if (strip) response.headers['cache-control'] = 'no-store';
};
const app = express();
// Whatever its type: what the package takes for compressible differs between versions.
app.use(compression({ filter: () => true }));
app.use(createProxyMiddleware({ target, on: { proxyRes } }));
const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.resume().on('end', () => process.exit());
