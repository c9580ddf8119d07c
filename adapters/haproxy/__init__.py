"""HAProxy as a router: no reload for a new route or a new replica, and none that cuts anything.

All that changes often is told to the running program: routes in one map that is replaced as a
whole, endpoints in server slots declared beforehand. The same is kept on disk for its next start.
Who a user is, it asks by a program of ours, `ask.lua`.
"""
