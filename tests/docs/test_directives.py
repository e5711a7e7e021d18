"""The directives that are documented are those that the module has, and every piece of configuration works."""

import re
import unittest

import pages
import reference
from processes import REPOSITORY
from sandbox import Sandbox, directives_of_all_modules

REFERENCE = REPOSITORY / "apache-conf/reference.conf"


class Directives(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        known = directives_of_all_modules("")
        cls.known = {name: said for name, said in known.items() if name.startswith("JwtGate")}
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

    def test_options_in_the_reference_are_those_that_the_module_tells(self):
        """A directive that is given an option that it has not says which ones it has."""
        wrong = {
            "JwtGateNetwork": "n file=x bogus=1",
            "JwtGatePlan": "p bogus=1",
            "JwtGateLockout": "failures=1/1s bogus=1",
            "JwtGateLimit": "l key=address rate=1/s bogus=1",
            "JwtGateCors": "https://a.example bogus=1",
            "JwtGateResource": "https://a.example bogus=1",
            "JwtGateLog": "log bogus=1",
        }
        syntax = {entry.name: entry.fields["Syntax"] for entry in self.entries}
        option = r"\b([a-z-]+)="
        having = {name for name, text in syntax.items() if re.search(option, text)}
        self.assertEqual(having, set(wrong))
        with Sandbox() as sandbox:
            for name, arguments in wrong.items():
                with self.subTest(name):
                    complaint = sandbox.complaint(f"{name} {arguments}")
                    told = re.findall(option, complaint.split("is not an option: use", 1)[1])
                    self.assertEqual(set(re.findall(option, syntax[name])), set(told))

    def test_options_of_an_issuer_in_the_reference_are_those_that_it_has(self):
        code = "".join((REPOSITORY / f"src/core/config/{name}.rs").read_text() for name in ("issuer", "fetch"))
        known = set(re.findall(r'^            "([a-z-]+)" => ', code, flags=re.MULTILINE))
        self.assertGreater(len(known), 12)
        meaning = next(entry for entry in self.entries if entry.name == "JwtGateIssuer").fields["Meaning"]
        documented = set(re.findall(r"^ {6}([a-z-]+)=", meaning, flags=re.MULTILINE))
        self.assertEqual(known - documented, set())
        with Sandbox() as sandbox:
            for option in sorted(documented):
                complaint = sandbox.complaint(f"JwtGateIssuer i https://i.example {option}=?")
                self.assertNotIn("is not an option", complaint, option)

    def test_readme_table_has_each_directive_once_in_the_order_of_the_reference(self):
        names = [re.match(r"`(JwtGate\w*)", row[0])[1] for row in pages.README.table("Directives")]
        self.assertEqual(names, [entry.name for entry in self.entries])

    def test_defaults_in_readme_are_those_of_the_reference(self):
        defaults = {entry.name: entry.fields["Default"].strip() for entry in self.entries}
        for first, _, default in pages.README.table("Directives"):
            name = re.match(r"`(JwtGate\w*)", first)[1]
            if code := re.fullmatch(r"`(.*)`", default):
                self.assertEqual(defaults[name], f"{name} {code[1]}")
            else:
                self.assertNotRegex(defaults[name], "^JwtGate", name)

    def test_no_document_names_a_directive_that_does_not_exist(self):
        texts = {page.name: page.text for page in pages.ALL} | {"reference.conf": REFERENCE.read_text()}
        for name, text in texts.items():
            self.assertEqual(set(re.findall(r"\bJwtGate\w*", text)) - set(self.known), set(), name)

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

    def test_configuration_blocks_of_all_pages_pass_configtest(self):
        blocks = [(page.name, block) for page in pages.ALL for block in page.blocks("apache")]
        self.assertGreater(len(blocks), 20)
        with Sandbox() as sandbox:
            for name, block in blocks:
                sandbox.keep(block)
                with self.subTest(name, block=block):
                    self.assertEqual(sandbox.complaint(block), "")


if __name__ == "__main__":
    unittest.main()
