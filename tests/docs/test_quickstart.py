"""README's two minutes, done: its virtual host, its application, its commands, what they print."""

import os
import subprocess
import unittest

import pages
from processes import REPOSITORY, free_port, start_application
from sandbox import Sandbox

EXAMPLE = REPOSITORY / "apache-conf/examples/quickstart"
# The addresses that the documents use, and which may be taken on the machine that runs the test.
GATE, APPLICATION = "127.0.0.1:8080", "127.0.0.1:9000"


def shown_in_order(shown: list[str], printed: list[str]) -> str | None:
    """The first line that README shows and that was not printed, or not after the one before it."""
    rest = iter(printed)
    return next((line for line in shown if line not in rest), None)


class QuickStart(unittest.TestCase):
    def test_readme_shows_the_file(self):
        self.assertIn((EXAMPLE / "vhost.conf").read_text(), pages.README.blocks("apache"))

    def test_commands_print_what_is_shown(self):
        # Those behind it are the setups', which the tests of httpd follow.
        block = pages.README.blocks("console")[0]
        with Sandbox() as sandbox:
            with start_application("app:app", EXAMPLE, sandbox.root / "app.log") as application:
                port = free_port()
                vhost = (EXAMPLE / "vhost.conf").read_text()
                vhost = vhost.replace(GATE, f"127.0.0.1:{port}").replace(APPLICATION, f"127.0.0.1:{application.port}")
                with sandbox.start(vhost, port):
                    for command, shown in pages.session(block):
                        with self.subTest(command):
                            missing = shown_in_order(shown, self.run_in_shell(command, sandbox, port))
                            self.assertIsNone(missing)

    def run_in_shell(self, command: str, sandbox: Sandbox, port: int) -> list[str]:
        """Runs the command as it is written; what differs here is around it: curl's and sudo's surroundings."""
        tools = sandbox.root / "tools"
        if not tools.exists():
            tools.mkdir()
            (tools / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
            (tools / "sudo").chmod(0o755)
            (tools / ".curlrc").write_text(f'connect-to = "{GATE}:127.0.0.1:{port}"\n')
        variables = tools / "variables"
        variables.touch()
        script = f". '{variables}'\n{command}\ndeclare -p TOKEN > '{variables}' 2>/dev/null || true\n"
        result = subprocess.run(
            ["bash", "-c", script.replace("/etc/apache2", str(sandbox.root))],
            cwd=REPOSITORY,
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "CURL_HOME": str(tools)},
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout.splitlines()


if __name__ == "__main__":
    unittest.main()
