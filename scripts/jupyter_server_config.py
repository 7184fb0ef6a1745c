"""JupyterLab's settings in the course's environment: `make env` copies this file to where Jupyter's server reads it.

By default the server leaves TCP's Nagle algorithm on: a small message waits until the browser has acknowledged the one
before, so a live picture comes about 30 ms late. Without this file everything works, a little slower.
"""

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class AtOnce(ZMQChannelsWebsocketConnection):
    def connect(self):
        self.websocket_handler.set_nodelay(True)
        return super().connect()


c = get_config()  # noqa: F821, given by Jupyter when it reads this file
c.ServerApp.kernel_websocket_connection_class = AtOnce
