package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The programs that the bridge is measured against. Each is a process of its own,
// so that its processor time and memory can be told from the others': this binary,
// started with the word "child".

// runChild is a child process, until SIGTERM.
func runChild(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 2 && args[0] == "ceiling":
		return serveEcho(ctx, args[1], ceiling)
	case len(args) == 3 && args[0] == "handwritten":
		return serveHandwritten(ctx, args[1], args[2])
	case len(args) == 4 && args[0] == "nats":
		return serveNATS(ctx, args[1], args[2], args[3] == "always")
	case len(args) == 3 && args[0] == "bare":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return publishBare(ctx, args[1], n)
	}
	return fmt.Errorf("child %q is none", args)
}

// ceiling is the least that a webhook can do: read the body, say 202.
func ceiling(c echo.Context) error {
	if _, err := io.Copy(io.Discard, c.Request().Body); err != nil {
		return err
	}
	return c.JSONBlob(http.StatusAccepted, []byte(`{"status":"accepted"}`))
}

func serveEcho(ctx context.Context, address string, handler echo.HandlerFunc) error {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/webhooks/persat", handler)
	context.AfterFunc(ctx, func() { _ = e.Close() })
	if err := e.Start(address); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func connect(natsURL string) (jetstream.JetStream, error) {
	nc, err := nats.Connect(natsURL)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
	}
	return js, err
}

// serveHandwritten is the bridge that people write by hand: publish to JetStream
// in the handler, and answer once it has acknowledged. No signature is checked.
func serveHandwritten(ctx context.Context, address, natsURL string) error {
	js, err := connect(natsURL)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}, Storage: jetstream.FileStorage, Duplicates: 2 * time.Hour}); err != nil {
		return err
	}
	return serveEcho(ctx, address, func(c echo.Context) error {
		body, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return err
		}
		m := nats.NewMsg("persat.workorder.finished")
		m.Data = body
		m.Header.Set("Nats-Msg-Id", c.Request().Header.Get("svix-id"))
		if _, err := js.PublishMsg(c.Request().Context(), m); err != nil {
			return err
		}
		return c.JSONBlob(http.StatusAccepted, []byte(`{"status":"accepted"}`))
	})
}

// serveNATS is a nats-server as it comes, but for where it listens and stores.
func serveNATS(ctx context.Context, address, dir string, always bool) error {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{Host: at.IP.String(), Port: at.Port, JetStream: true, StoreDir: dir, SyncAlways: always, NoSigs: true, NoLog: true})
	if err != nil {
		return err
	}
	s.Start()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}
