"""The same order in other libraries: how each publishes inside or after the transaction, and how each consumes.

They run in an environment of their own (requirements/peers.txt), on the smallest Django there is. Each uses what its
own documentation shows; kept database connections everywhere, which is the kindest setting for all, and in its two
processes as many threads, tasks or claimed jobs as drain faster: eight of dramatiq, ten of procrastinate (2 to 4 and
1.7 times one), a hundred of pgqueuer.
"""
