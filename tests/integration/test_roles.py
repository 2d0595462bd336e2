"""Who may do what: groups, the first operator, and the users command."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command

from console import roles

pytestmark = pytest.mark.django_db


def users(*arguments: str) -> str:
    out = io.StringIO()
    call_command("users", *arguments, stdout=out)
    return out.getvalue()


class TestGroups:
    @pytest.mark.parametrize(
        ("group", "codenames"),
        [("viewer", {"view_console"}), ("operator", {"view_console", "operate", "reveal"})],
    )
    def test_hold_their_permissions_after_a_migration(self, group: str, codenames: set[str]) -> None:
        held = Group.objects.get(name=group).permissions.values_list("codename", flat=True)
        assert set(held) == codenames

    def test_keep_what_an_admin_added(self) -> None:
        from django.apps import apps

        extra = Permission.objects.get(codename="view_user")
        Group.objects.get(name="viewer").permissions.add(extra)
        roles.make_groups(apps.get_app_config("messaging"))
        assert Group.objects.get(name="viewer").permissions.filter(pk=extra.pk).exists()


class TestFirstOperator:
    def test_signs_in_with_the_generated_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SIGNALBOX_ADMIN_PASSWORD", raising=False)
        password = roles.ensure_first_operator()
        admin = User.objects.get(username="admin")
        assert password
        assert admin.check_password(password)
        assert (admin.is_superuser, admin.is_staff, roles.role_of(admin)) == (True, True, "admin")
        assert admin.groups.filter(name="operator").exists()

    def test_takes_the_password_of_the_environment_and_does_not_show_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SIGNALBOX_ADMIN_PASSWORD", "of-the-environment")
        assert roles.ensure_first_operator() is None
        assert User.objects.get(username="admin").check_password("of-the-environment")

    def test_is_made_once(self) -> None:
        roles.ensure_first_operator()
        before = User.objects.get(username="admin").password
        assert roles.ensure_first_operator() is None
        assert User.objects.get(username="admin").password == before

    def test_is_not_made_beside_other_accounts(self) -> None:
        User.objects.create_user("ana")
        assert roles.ensure_first_operator() is None
        assert not User.objects.filter(username="admin").exists()


class TestUsersCommand:
    @pytest.fixture(autouse=True)
    def no_password_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SIGNALBOX_ADMIN_PASSWORD", raising=False)

    @pytest.mark.parametrize(
        ("role", "may"), [("viewer", {"view_console"}), ("operator", {"view_console", "operate", "reveal"})]
    )
    def test_makes_an_account_with_its_role_and_prints_the_password(self, role: str, may: set[str]) -> None:
        printed = users("create", "ana", "--role", role)
        ana = User.objects.get(username="ana")
        password = printed.partition("shown this once: ")[2].split()[0]
        assert ana.check_password(password)
        assert {name for name in ("view_console", "operate", "reveal") if ana.has_perm(f"messaging.{name}")} == may
        assert ana.is_staff == (role == "operator")

    def test_reads_a_password_from_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("a-long-enough-one\n"))
        assert "a-long-enough-one" not in users("create", "ana", "--password-stdin")
        assert User.objects.get(username="ana").check_password("a-long-enough-one")

    def test_refuses_a_weak_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
        with pytest.raises(CommandError, match="too short"):
            users("create", "ana", "--password-stdin")
        assert not User.objects.exists()

    def test_refuses_a_name_that_is_taken_or_no_name(self) -> None:
        users("create", "ana")
        with pytest.raises(CommandError, match="exists already"):
            users("create", "Ana")
        with pytest.raises(CommandError, match="no valid name"):
            users("create", "a b c!")

    def test_changes_role_and_password(self) -> None:
        users("create", "ana", "--role", "operator")
        users("role", "ana", "--role", "viewer")
        ana = User.objects.get(username="ana")
        assert not ana.has_perm("messaging.operate")
        assert not ana.is_staff
        assert "shown this once" in users("password", "ana")
        with pytest.raises(CommandError, match="no account"):
            users("role", "ben", "--role", "viewer")

    def test_lists_accounts_for_people_and_programs(self) -> None:
        users("create", "ana", "--role", "operator")
        users("create", "ben")
        listed: list[dict[str, Any]] = json.loads(users("list", "--json"))
        assert [(user["name"], user["role"]) for user in listed] == [("ana", "operator"), ("ben", "viewer")]
        assert "ana" in users("list")
