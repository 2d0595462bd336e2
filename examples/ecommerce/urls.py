from django.urls import path

from examples.ecommerce.orders import views

urlpatterns = [
    path("orders", views.orders, name="shop-orders"),
    path("orders/<uuid:order_id>", views.order, name="shop-order"),
]
