"""A process of a peer's that has something ready and works whenever it is told to, for a benchmark's turns."""

import json
import subprocess
import tempfile


class Worker:
    """Is told things in lines and answers each with a line of JSON; its first answer says that it is ready.

    Args:
        name: what to call it where it ends before it is told to.
        command: what starts it.
        environment: its environment variables; by default this process's.
    """

    def __init__(self, name, command, environment=None):
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the worker
        self.process = subprocess.Popen(
            list(map(str, command)), env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{self.name} ended: {self.errors.read()[-2000:]}")
        return json.loads(line)

    def ask(self, line=""):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.hear()

    def close(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
        self.errors.close()
