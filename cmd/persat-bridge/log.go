package main

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

// newLog logs to w as the configuration says, through a logWriter that the caller
// closes. The level can be changed later.
func newLog(w io.Writer, c config.Log) (*zap.Logger, *zap.AtomicLevel, *logWriter, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, nil, nil, err
	}
	encoder := newEncoder(c.Format == "console" || c.Format == "auto" && isTerminal(w))
	out := newLogWriter(w, logBuffer, func(dropped int) []byte {
		line, err := encoder.Clone().EncodeEntry(
			zapcore.Entry{Level: zapcore.WarnLevel, Time: time.Now(), Message: "log lines were dropped: their reader did not take them"},
			[]zapcore.Field{zap.Int("lines", dropped)})
		if err != nil {
			return nil
		}
		return line.Bytes()
	})
	return zap.New(zapcore.NewCore(encoder, out, level)), &level, out, nil
}

func newEncoder(console bool) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.TimeKey = "time"
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	if console {
		c.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		c.EncodeLevel = zapcore.CapitalLevelEncoder
		return zapcore.NewConsoleEncoder(c)
	}
	return zapcore.NewJSONEncoder(c)
}
