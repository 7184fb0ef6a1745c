"""JupyterLab settings for the course's environment: `make env` copies this file to where the Jupyter server reads it.

By default the server leaves TCP's Nagle algorithm on: a small message waits until the browser has acknowledged the
previous one, so a live picture arrives about 30 ms late. Without this file everything works, just a little slower.
"""

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class AtOnce(ZMQChannelsWebsocketConnection):
    def connect(self):
        self.websocket_handler.set_nodelay(True)
        return super().connect()


c = get_config()  # noqa: F821, Jupyter provides it when it reads this file
c.ServerApp.kernel_websocket_connection_class = AtOnce
