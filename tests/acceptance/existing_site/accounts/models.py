"""People who sign in by their e-mail address."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models


class MemberManager(BaseUserManager["Member"]):
    def create_superuser(self, email: str, password: str, **fields: Any) -> Member:
        member = self.model(email=self.normalize_email(email), is_staff=True, is_superuser=True, **fields)
        member.set_password(password)
        member.save()
        return member


class Member(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField("e-mail", unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)

    USERNAME_FIELD = "email"

    objects = MemberManager()

    def __str__(self) -> str:
        return self.email
