"""What the drivers in Python share.

In: a line of JSON for each job, with its name, and the function that does it. The jobs run side by side, each on a thread.
Out: lines of JSON with the job's name and what its client saw.
"""

import json
import os
import sys
import threading
import time

RETRY_SECONDS = 0.02

# Some clients print: that is not for who reads our reports.
_reports, sys.stdout = sys.stdout, sys.stderr
_one_at_a_time = threading.Lock()


def pause():
    """The pause before a driver asks again, where its client leaves that to its caller."""
    time.sleep(RETRY_SECONDS)


def run(functions):
    """Does the jobs that come. A job is given what its line says, and a function to report what was seen."""
    for line in sys.stdin:
        threading.Thread(target=_do, args=(functions, json.loads(line)), daemon=True).start()
    os._exit(0)


def _do(functions, job):
    def report(saw, **more):
        line = json.dumps({"job": job["job"], "saw": saw, **more})
        with _one_at_a_time:
            print(line, file=_reports, flush=True)

    try:
        report("over", **(functions[job["does"]](job, report) or {}))
    except Exception as error:
        status, body = getattr(error, "status_code", None), getattr(error, "body", None)
        report("threw", **{"class": type(error).__name__}, message=str(error), status=status, error=body)
