"""The directives that are documented are those that the module has, and every piece of configuration works."""

import re
import unittest
import urllib.request

import readme
import reference
from processes import REPOSITORY, free_port
from sandbox import Sandbox

REFERENCE = REPOSITORY / "apache-conf/reference.conf"


def directives_of_the_module() -> dict[str, str]:
    """What a running server says that the module knows (mod_info): name and one-line help."""
    port = free_port()
    configuration = f'Listen 127.0.0.1:{port}\n<Location "/info">\n    SetHandler server-info\n</Location>\n'
    with Sandbox() as sandbox, sandbox.start(configuration, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/info", timeout=10) as answer:
            page = answer.read().decode()
    return dict(re.findall(r"<dd><tt>(JwtGate\w*) - <i>(.*?)</i>", page, flags=re.DOTALL))


class Directives(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.known = directives_of_the_module()
        cls.shared, cls.entries = reference.read(REFERENCE)

    def test_the_module_was_found(self):
        self.assertIn("JwtGate", self.known)
        self.assertIn("JwtGateIssuer", self.known)

    def test_every_directive_says_in_one_line_what_it_is(self):
        self.assertEqual([name for name, text in self.known.items() if not text.strip() or "\n" in text], [])

    def test_reference_has_each_directive_once_and_no_other(self):
        self.assertEqual(sorted(entry.name for entry in self.entries), sorted(self.known))

    def test_contexts_in_the_reference_are_those_of_the_table(self):
        contexts = {
            "Global": "server config",
            "Server": "server config, virtual host",
            "Directory": "server config, virtual host, section",
        }
        table = (REPOSITORY / "src/core/config/directive.rs").read_text()
        rows = re.findall(r'row\(\s*Directive::\w+,\s*c"(\w+)",\s*Context::(\w+),', table)
        documented = {entry.name: entry.fields["Context"].strip() for entry in self.entries}
        self.assertEqual(documented, {name: contexts[context] for name, context in rows})

    def test_readme_table_has_each_directive_once_in_the_order_of_the_reference(self):
        names = [re.match(r"`(JwtGate\w*)", row[0])[1] for row in readme.table("Directives")]
        self.assertEqual(names, [entry.name for entry in self.entries])

    def test_defaults_in_readme_are_those_of_the_reference(self):
        defaults = {entry.name: entry.fields["Default"].strip() for entry in self.entries}
        for first, _, default in readme.table("Directives"):
            name = re.match(r"`(JwtGate\w*)", first)[1]
            if code := re.fullmatch(r"`(.*)`", default):
                self.assertEqual(defaults[name], f"{name} {code[1]}")
            else:
                self.assertNotRegex(defaults[name], "^JwtGate", name)

    def test_no_document_names_a_directive_that_does_not_exist(self):
        for document in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "apache-conf/reference.conf"):
            named = set(re.findall(r"\bJwtGate\w*", (REPOSITORY / document).read_text()))
            self.assertEqual(named - set(self.known), set(), document)

    def test_defaults_are_accepted_as_written(self):
        with Sandbox() as sandbox:
            for entry in self.entries:
                default = entry.fields["Default"].strip()
                if default.startswith("JwtGate"):
                    with self.subTest(default):
                        self.assertEqual(sandbox.complaint(default), "")

    def test_examples_of_the_reference_pass_configtest(self):
        with Sandbox() as sandbox:
            self.assertEqual(sandbox.complaint(self.shared), "", "the lines shared by all examples")
            for entry in self.entries:
                with self.subTest(entry.name):
                    self.assertIn(entry.name, entry.fields["Example"])
                    self.assertEqual(sandbox.complaint(f"{self.shared}\n{entry.fields['Example']}\n"), "")

    def test_installed_configuration_passes_configtest(self):
        text = (REPOSITORY / "apache-conf/jwt_gate.conf").read_text()
        with Sandbox() as sandbox:
            self.assertEqual(sandbox.complaint(text), "")
            switched_on = re.sub(r"^( *)#(JwtGate)", r"\1\2", text, flags=re.MULTILINE)
            self.assertNotEqual(switched_on, text)
            self.assertEqual(sandbox.complaint(switched_on), "")

    def test_values_in_the_installed_configuration_are_the_defaults(self):
        defaults = [entry.fields["Default"].strip() for entry in self.entries]
        for line in (REPOSITORY / "apache-conf/jwt_gate.conf").read_text().splitlines():
            if line.strip().startswith("JwtGate"):
                self.assertIn(line.strip(), defaults)

    def test_configuration_blocks_of_readme_pass_configtest(self):
        blocks = readme.blocks("apache")
        self.assertTrue(blocks)
        with Sandbox() as sandbox:
            for block in blocks:
                self.assertEqual(sandbox.complaint(block), "", block)


if __name__ == "__main__":
    unittest.main()
