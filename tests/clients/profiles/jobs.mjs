// What the drivers in Node share. In: a line of JSON for each job, with its name, and the function that does it. The jobs run
// side by side. Out: lines of JSON with the job's name and what its client saw.

import { createInterface } from 'node:readline';

const RETRY_MS = 20;

// The pause before a driver asks again, where its client leaves that to its caller.
export function pause() {
  return new Promise((resolve) => setTimeout(resolve, RETRY_MS));
}

// Does the jobs that come. A job is given what its line says, and a function to report what was seen.
export function run(functions) {
  const jobs = createInterface({ input: process.stdin });
  jobs.on('line', async (line) => {
    const job = JSON.parse(line);
    const report = (saw, more) => console.log(JSON.stringify({ job: job.job, saw, ...more }));
    try {
      report('over', await functions[job.does](job, report));
    } catch (error) {
      const { name, message, status = null } = error;
      report('threw', { class: error.constructor.name, name, message, status, error: error.error ?? null });
    }
  });
  jobs.on('close', () => process.exit());
}
