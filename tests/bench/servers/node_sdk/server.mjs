// The official Node SDK's server, the way its examples do it.
import http from 'node:http';
import { createEndpoint } from '@jambonz/sdk/websocket';

const quiet = { info() {}, error() {}, debug() {}, warn() {} };
const server = http.createServer();
const service = createEndpoint({ server, logger: quiet })({ path: '/bench' });

const say = { text: 'You pressed two, thank you.' };
const gather = { input: ['digits'], numDigits: 1, timeout: 20, actionHook: '/bench' };

service.on('session:new', (session) => {
  session.on('/bench', () => session.say(say).gather(gather).reply());
  session.on('error', () => {});
  session.say(say).gather(gather).send();
});

server.listen(Number(process.argv[2]), '127.0.0.1', 8192, () => console.log('ready'));
