from django.urls import path

from examples.appointments import views

urlpatterns = [
    path("appointments", views.appointments, name="clinic-appointments"),
    path("appointments/<uuid:appointment_id>", views.appointment, name="clinic-appointment"),
    path("appointments/<uuid:appointment_id>/reschedule", views.reschedule, name="clinic-reschedule"),
    path("appointments/<uuid:appointment_id>/cancel", views.cancel, name="clinic-cancel"),
    path("schedules/<str:practitioner>/<str:day>", views.schedule, name="clinic-schedule"),
    path("utilisation/<str:day>", views.utilisation, name="clinic-utilisation"),
]
