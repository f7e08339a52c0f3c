"""A W&B server that goes away in the middle of a run, and comes back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

CODE = """
import gzip, http.server, json, logging, sys, threading, time
from pathlib import Path
from pretext import wandb_log
from pretext.loggers import RunInfo

BUCKET = {"id": "x", "name": "one", "displayName": "n", "description": "", "config": "{}",
          "sweepName": None, "historyLineCount": 0,
          "project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}}
VIEWER = {"id": "u", "entity": "e", "username": "u", "flags": "{}", "teams": {"edges": []}}
ANSWERS = {"ResumeStatus": {"model": {"name": "p", "bucket": None}},
           "UpsertBucket": {"upsertBucket": {"bucket": BUCKET, "inserted": True}},
           "iewer": {"viewer": VIEWER}}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            asked = gzip.decompress(asked)
        asked = asked.decode()
        if "file_stream" in self.path and "history" in asked:
            print("uploaded", "train/loss" in asked, flush=True)
        found = next((answer for name, answer in ANSWERS.items() if name in asked), {})
        if "CreateRunFiles" in asked:
            place = f"http://127.0.0.1:{self.server.server_port}/put"
            files = [{"name": name, "uploadUrl": place}
                     for name in json.loads(asked)["variables"]["files"]]
            found = {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        told = json.dumps({"data": found}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
    do_GET = do_PUT = do_POST
    def log_message(self, *arguments):
        pass

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
import os, shlex, subprocess
os.environ["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
wandb_log.UPLOAD = 0.2
info = RunInfo(Path("r[1]"), "g", "n", {}, "active", ("cycle", "epoch"), ("train/loss",), 0)
(info.folder / "wandb").mkdir(parents=True)
(info.folder / "wandb" / "id").write_text("one")
sink = wandb_log.open_wandb(info, "p", timeout=20)
print("offline", sink.experiment.settings._offline)
server.shutdown()
server.server_close()
sink.experiment.log({"train/loss": 0.5, "epoch": 1})
started = time.monotonic()
logs = []
handler = logging.Handler()
handler.emit = lambda record: logs.append(record.getMessage())
logging.getLogger("initial_pools").addHandler(handler)
sink.close()
print("closed after", time.monotonic() - started, flush=True)
server = http.server.ThreadingHTTPServer(server.server_address, Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
command = shlex.split(logs[-1].partition(": ")[2])
finished = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
print(finished.returncode, finished.stdout, finished.stderr, wandb_log.unsent(
    Path(command[-1]).parent, sink.experiment.id), flush=True)
os._exit(0)
"""


def test_what_is_not_sent_in_time_is_uploaded_by_the_printed_command(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"WANDB_API_KEY": "a" * 40, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "offline False" in finished.stdout
    (seconds,) = re.findall(r"closed after ([\d.]+)", finished.stdout)
    assert 3 < float(seconds) < 20
    assert "wandb sync --include-online --id" in finished.stdout
    assert "uploaded True" in finished.stdout.partition("closed after")[2]
    assert finished.stdout.rstrip().endswith("[]"), "and is not asked to be uploaded again"
