"""Both applications of a redirect as parts of one, as applications of one cluster that share calls have to be."""

from examples import legs, survey
from jambonz_workers import App

app = App(env=legs.app.env)
for part in (legs.app, survey.app):
    for route in part.sessions:
        app.session(route.path)(route.handler.function)
    for route in part.hooks:
        app.hook(route.path)(route.handler.function)
