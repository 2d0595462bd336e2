"""Sign an operator in so many times, and print the sessions' keys as one line of JSON."""

from __future__ import annotations

import argparse
import json


def sign_in(times: int) -> list[str]:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    from console.roles import set_role

    user = User.objects.create_user("operator")
    set_role(user, "operator")
    keys = []
    for _ in range(times):
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        keys.append(str(session.session_key))
    return keys


if __name__ == "__main__":
    import django

    parser = argparse.ArgumentParser()
    parser.add_argument("times", type=int)
    arguments = parser.parse_args()
    django.setup()
    print(json.dumps(sign_in(arguments.times)))
