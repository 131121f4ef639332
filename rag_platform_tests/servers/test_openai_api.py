import json
import subprocess
import sys
from typing import Any
from urllib.request import Request, urlopen

from rag_platform_tests.servers.openai_api import KEY, vector_of


def send(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with urlopen(Request(url, data, headers), timeout=10) as answer:
        return json.load(answer)


def test_it_runs_as_a_process_with_a_script_and_a_log() -> None:
    command = [sys.executable, "-m", "rag_platform_tests.servers.openai_api"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            base_url = process.stdout.readline().strip()
            root = base_url.removesuffix("/v1")
            send(f"{root}/faults", [{"kind": "wrong_count"}, {"kind": "ok"}])
            asked = {"model": "tiny", "input": ["a", "b"], "dimensions": 4}
            assert len(send(f"{base_url}/embeddings", asked)["data"]) == 1
            answer = send(f"{base_url}/embeddings", asked)
            assert [entry["embedding"] for entry in answer["data"]] == [
                vector_of("a", 4),
                vector_of("b", 4),
            ]
            assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
            log = send(f"{root}/requests")
            assert [entry["fault"] for entry in log] == ["wrong_count", "ok"]
        finally:
            process.kill()
