package main

import (
	"io"
	"os"
	"strconv"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

// newLog writes to w as the configuration says. The level can be changed later.
func newLog(w io.Writer, c config.Log) (*zap.Logger, *zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, nil, err
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey = "time"
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if c.Format == "console" || c.Format == "auto" && isTerminal(w) {
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)), &level, nil
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// style writes in bold, faint or a colour on a terminal, and plainly elsewhere.
type style struct{ on bool }

func newStyle(w io.Writer, getenv func(string) string) style {
	return style{isTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

const (
	bold  = 1
	faint = 2
	red   = 31
	green = 32
)

func (s style) paint(code int, text string) string {
	if !s.on {
		return text
	}
	return "\x1b[" + strconv.Itoa(code) + "m" + text + "\x1b[0m"
}
