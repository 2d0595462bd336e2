"""Django settings. The environment alone decides how it runs; see docs/operations.md for every variable."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from pythonjsonlogger.core import RESERVED_ATTRS

from console import environment as env

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Path(env.text("SIGNALBOX_HOME", str(BASE_DIR / "var"))).resolve()

DATABASE_URL = env.text("DATABASE_URL")
REDIS_URL = env.text("REDIS_URL")
EMBEDDED = not DATABASE_URL
"""Embedded: SQLite, memory broker, everything in one process. Decided by DATABASE_URL alone."""

DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env.secret_key(HOME, embedded=EMBEDDED)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS") or ["localhost", "127.0.0.1", "[::1]", env.text("HOST", "127.0.0.1")]
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
RELEASE = env.text("SIGNALBOX_RELEASE", "")
ENVIRONMENT_NAME = env.text("SIGNALBOX_ENVIRONMENT", "embedded" if EMBEDDED else "production")

INSTALLED_APPS = [
    "console.apps.ConsoleConfig",
    "messaging",
    "examples.sampling",
    "examples.ecommerce",
    "examples.appointments",
    "examples.payments",
    "examples.telemetry",
    "examples.training",
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",  # console.urls looks for the admin's pages: roles serve none
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "channels",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "console.middleware.ContentSecurityPolicy",
    "console.middleware.NoStore",
    "console.middleware.NoNulInAdmin",
    "console.middleware.Correlation",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "console.urls"
ASGI_APPLICATION = "console.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.database(DATABASE_URL or f"sqlite:///{HOME / 'signalbox.sqlite3'}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True

LANGUAGE_CODE = "en-us"
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
_NINJA = Path(str(find_spec("ninja").origin)).parent  # type: ignore[union-attr]  # a locked dependency
STATICFILES_DIRS = [BASE_DIR / "static", _NINJA / "static"]
"""Ninja is no installed app: it would be imported, with Django's test client, by every role and command."""
_STATIC_ROOT = env.text("SIGNALBOX_STATIC_ROOT", "" if EMBEDDED else str(BASE_DIR / "staticfiles"))
STATIC_ROOT = Path(_STATIC_ROOT) if _STATIC_ROOT else None  # embedded, files are served where they lie
WHITENOISE_USE_FINDERS = EMBEDDED
WHITENOISE_AUTOREFRESH = DEBUG or EMBEDDED  # files change under it when a checkout is updated

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    # Of several hosts none sees another's disk: in production somebody has to say where large bodies go.
    **env.body_storage("SIGNALBOX_BODY_STORAGE", str(HOME / "storage") if EMBEDDED else ""),
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # socket_timeout None: the client's default of 5 s ends an idle subscription.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}], "prefix": "signalbox"},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}
}

CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", REDIS_URL or "memory://")

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
BEHIND_TLS = env.flag("SIGNALBOX_TLS", default=False)
if BEHIND_TLS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True

DATA_UPLOAD_MAX_MEMORY_SIZE = env.integer("SIGNALBOX_MAX_BODY_BYTES", 1_048_576, minimum=1024)

MESSAGING = {
    "source": env.text("SIGNALBOX_SOURCE", "signalbox"),
    "max_body_bytes": DATA_UPLOAD_MAX_MEMORY_SIZE,
    "inline_body_bytes": env.integer("SIGNALBOX_INLINE_BODY_BYTES", 262_144),
    "heartbeat_seconds": env.number("SIGNALBOX_HEARTBEAT_SECONDS", 2.0, minimum=0.1),
    "stale_after_seconds": env.number("SIGNALBOX_STALE_AFTER_SECONDS", 12.0, minimum=0.3),
    "release": RELEASE,
    "span_hours": env.number("SIGNALBOX_SPAN_HOURS", 72.0, minimum=0.01),
    "span_limit": env.integer("SIGNALBOX_SPAN_LIMIT", 500_000, minimum=1_000),
    "anchor_file": env.text("SIGNALBOX_ANCHOR_FILE"),
    "allow_faults": env.flag("SIGNALBOX_ALLOW_FAULTS", default=False),
}
SAMPLE_TRAFFIC = EMBEDDED and env.flag("SIGNALBOX_SAMPLE_TRAFFIC", default=True)
"""The example flows run from the first second; never by itself when DATABASE_URL is set."""
SAMPLE_FLOWS = [
    "examples.ecommerce.sample.ORDERS",
    "examples.appointments.sample.APPOINTMENTS",
    "examples.payments.sample.PAYMENTS",
    "examples.telemetry.sample.TELEMETRY",
    "examples.training.sample.MODELS",
]
"""What examples.sampling makes traffic for, each with a switch of its own."""
SAMPLE_TRAFFIC_SOURCE = "examples.sampling.running.run"
"""Takes a threading.Event and generates until it is set."""
SAMPLE_TRAFFIC_SWITCH = "examples.sampling.switch"
"""Module with status() and set_running(flow, on, by); empty where there is no sample traffic."""

METRICS_PUBLIC = env.flag("SIGNALBOX_METRICS_PUBLIC", default=False)
"""/metrics without a token: for a scraper on a private network."""
METRICS_TOKEN = env.text("SIGNALBOX_METRICS_TOKEN")
"""A secret of Prometheus's own that opens /metrics and nothing else."""
READY_MAX_LAG_SECONDS = env.number("SIGNALBOX_READY_MAX_LAG_SECONDS", 60.0, minimum=0.1)
"""/readyz fails when the oldest row in the outbox is older."""

TRACING = env.flag("SIGNALBOX_TRACING", default=True) and not env.flag("OTEL_SDK_DISABLED", default=False)
"""Spans are made and kept for the console's live traces."""
OTLP_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where spans are sent as well; empty: nowhere."""
TRACE_SAMPLER = env.choice(
    "OTEL_TRACES_SAMPLER", "parentbased_traceidratio",
    ("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
     "parentbased_traceidratio"),
)  # fmt: skip
TRACE_RATIO = env.share("OTEL_TRACES_SAMPLER_ARG", 1.0 if EMBEDDED else 0.02)
"""Share of the traces that is recorded; what fails is kept whatever it says."""

LOG_FORMAT = env.choice("LOG_FORMAT", "auto", ("auto", "json", "text"))
"""auto: text for a terminal and embedded, a JSON object a line otherwise."""
_JSON = LOG_FORMAT == "json" or (LOG_FORMAT == "auto" and not EMBEDDED and not sys.stderr.isatty())
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"delivery": {"()": "messaging.logs.DeliveryContext"}},
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s%(delivery)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "%(levelname)s %(name)s %(message)s",
            "timestamp": "time",
            "reserved_attrs": [*RESERVED_ATTRS, "delivery"],
            "static_fields": {"source": env.text("SIGNALBOX_SOURCE", "signalbox")},
            "rename_fields": {"levelname": "level", "name": "logger"},
        },
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler", "formatter": "json" if _JSON else "text", "filters": ["delivery"],
        }
    },
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "WARNING" if EMBEDDED else "INFO").upper()},
    # One record a delivery: INFO logs those that were handled too, DEBUG also that they were received.
    "loggers": {
        # A browser that leaves ends a request in another context than it began in; harmless, and not ours to mend.
        "opentelemetry.context": {"level": "CRITICAL"},
        "messaging.deliveries": {"level": env.text("LOG_DELIVERIES", "CRITICAL" if EMBEDDED else "WARNING").upper()}
    },
}  # fmt: skip

_GREYS = {
    "50": "245 246 247", "100": "232 235 239", "200": "227 230 234", "300": "203 209 216", "400": "133 142 154",
    "500": "95 104 117", "600": "68 77 89", "700": "38 44 52", "800": "26 31 38", "900": "20 24 29", "950": "13 16 20",
}  # fmt: skip
UNFOLD = {
    "SITE_TITLE": "Signalbox",
    "SITE_HEADER": "Signalbox",
    "SITE_SUBHEADER": "Admin",
    "SITE_URL": "/",
    "SITE_SYMBOL": "traffic",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    # Colour means state on every page; the admin's own accent is ink.
    "COLORS": {"base": _GREYS, "primary": _GREYS},
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": "console.admin_menu.navigation"},
}
