from django.apps import AppConfig


class EcommerceConfig(AppConfig):
    name = "examples.ecommerce"
    default_auto_field = "django.db.models.BigAutoField"
