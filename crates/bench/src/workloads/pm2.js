// Drives PM2 through its own API: no command line is started while the clock runs.
// A line on standard input is a request; its end ends PM2 with all that it runs.
'use strict';
const pm2 = require(process.argv[2]);
const say = (word) => process.stdout.write(`bench: ${word}\n`);
pm2.connect((error) => {
  if (error) throw error;
  const lines = require('readline').createInterface({ input: process.stdin });
  lines.on('line', (line) => pm2.start(JSON.parse(line), (error) => say(error ? `failed ${error.message}` : 'started')));
  lines.on('close', () => pm2.killDaemon(() => process.exit(0)));
  say('ready');
});
