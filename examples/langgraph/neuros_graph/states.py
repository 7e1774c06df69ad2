"""Asks the bridge's API how a user is now."""

import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from bridge_client import Refused

WAIT_FIRST, WAIT_LAST = 0.5, 30.0
PATIENCE = 30.0


class States:
    """The states of users, as the bridge at this address tells them."""

    def __init__(self, bridge: str, token_file: Path) -> None:
        self.bridge, self.token_file = bridge.rstrip("/"), token_file

    def of(self, user: str) -> dict:
        """A user's state now, and nothing when there is no such user any more. Waits for a bridge that is away."""
        failures = 0
        while True:
            token = self.token_file.read_text().strip()
            path = f"/api/v1/users/{urllib.parse.quote(user, safe='')}/state"
            request = urllib.request.Request(self.bridge + path, headers={"Authorization": f"Bearer {token}"})
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return {}
                if error.code != 429 and error.code < 500 and (error.code != 401 or failures > 2):
                    raise Refused(f"the API answers {error.code}") from None
            except OSError:
                pass
            failures += 1
            time.sleep(random.uniform(0, min(WAIT_LAST, WAIT_FIRST * 2 ** min(failures, 10))))
