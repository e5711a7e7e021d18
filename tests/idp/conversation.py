"""How the providers talk with the tests: JSON objects, one a line, on standard input and output.

The first line out says where the provider is. From then on each line in has one answer. It ends with its input, so
also when the test is killed. By hand: `cognito.py 5005`, then `{"do": "tokens"}`.
"""

import json
import sys
from collections.abc import Callable


def hold(introduction: dict, commands: dict[str, Callable[..., dict]]) -> None:
    """Answers `{"do": NAME, …}` with what the command of that name gives for the other members."""
    print(json.dumps(introduction), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = commands[request.pop("do")](**request)
        print(json.dumps(answer), flush=True)
