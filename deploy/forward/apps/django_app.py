"""A Django application in one file, whose users Latchkey has logged in.

    pip install django gunicorn
    python django_app.py migrate
    gunicorn django_app:application --bind 127.0.0.1:9000

In a project, the settings belong to settings.py, and the two classes to a module of their own. Only
the reverse proxy may reach the port: every other client could send the headers itself.
"""

import os
import sys
from pathlib import Path
from urllib.parse import unquote

import django
from django.conf import settings

FOLDER = Path(os.environ.get("DATA", Path(__file__).parent))

settings.configure(
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "for the example only"),
    ALLOWED_HOSTS=os.environ.get("ALLOWED_HOSTS", "example.com,app.example.com").split(","),
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "app.db"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ],
    STATIC_URL="/app/static/",
    STATIC_ROOT=FOLDER / "static",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.LatchkeyMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    AUTHENTICATION_BACKENDS=[f"{__name__}.LatchkeyBackend"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    SESSION_COOKIE_SECURE=True,
    CSRF_COOKIE_SECURE=True,
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.backends import RemoteUserBackend  # noqa: E402
from django.contrib.auth.middleware import RemoteUserMiddleware  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


class LatchkeyMiddleware(RemoteUserMiddleware):
    """Logs the user in whose id is in `Remote-User`, and out if the header is missing."""

    header = "HTTP_REMOTE_USER"

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        # The backend runs at the log-in only, and a role may change at any time.
        is_admin = request.headers.get("Remote-Role") == "admin"
        user = request.user
        if user.is_authenticated and (user.is_staff, user.is_superuser) != (is_admin, is_admin):
            user.is_staff = user.is_superuser = is_admin
            user.save(update_fields=["is_staff", "is_superuser"])


class LatchkeyBackend(RemoteUserBackend):
    """Creates a user at the first request. The user name is the id in Latchkey."""

    def configure_user(self, request: HttpRequest, user, created: bool = True):
        user.first_name = unquote(request.headers.get("Remote-Name", ""))[:150]
        user.email = unquote(request.headers.get("Remote-Email", ""))
        user.save()
        return user


def show(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    return JsonResponse(
        {
            "id": request.user.username,
            "name": request.user.first_name,
            "email": request.user.email or None,
            # A role may change at any time, so it is read from each request and not stored.
            "role": request.headers["Remote-Role"],
            "groups": [unquote(group) for group in request.headers["Remote-Groups"].split(",")],
        }
    )


def show_public(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "id": request.user.username or None,
            "header": request.META.get("HTTP_REMOTE_USER"),
            "cookie": request.headers.get("Cookie"),
        }
    )


urlpatterns = [
    path("app/", show),
    path("app/admin/", admin.site.urls),
    path("app/public/", show_public),
]
application = WSGIHandler()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
